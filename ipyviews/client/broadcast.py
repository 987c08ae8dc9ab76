"""A view of several engines as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traitlets import Bool

from ipyviews.client.directview import DirectView

if TYPE_CHECKING:
    from ipyviews.client.session import Targets


class BroadcastView(DirectView):
    """Engines that are named; results are lists, also of one engine.

    Every call of a direct view is one message to all of its engines, so this view adds only the
    names that programs for ipyparallel use.
    """

    #: Accepted for compatibility: a result is always one, in the order of the targets, and tells
    #: every error.
    is_coalescing = Bool(False)

    _flags = (*DirectView._flags, "is_coalescing")  # noqa: SLF001 - its own base class

    def _chosen(self, targets: Targets) -> tuple[list[int], bool]:
        return super()._chosen(targets)[0], False
