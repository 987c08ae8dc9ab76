"""All views, under one name."""

from ipyviews.client.balanced import LoadBalancedView
from ipyviews.client.base import View
from ipyviews.client.directview import DirectView

__all__ = ["DirectView", "LoadBalancedView", "View"]
