"""All views, and what goes with them, under one name."""

from ipyviews.client.balanced import LoadBalancedView
from ipyviews.client.base import View
from ipyviews.client.broadcast import BroadcastView
from ipyviews.client.directview import DirectView
from ipyviews.client.executor import ViewExecutor
from ipyviews.client.lazymap import LazyMapIterator

__all__ = [
    "BroadcastView",
    "DirectView",
    "LazyMapIterator",
    "LoadBalancedView",
    "View",
    "ViewExecutor",
]
