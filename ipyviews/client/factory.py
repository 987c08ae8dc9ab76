"""What all clients have in common: they make views."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.client.balanced import LoadBalancedView
from ipyviews.client.broadcast import BroadcastView
from ipyviews.client.directview import DirectView
from ipyviews.client.session import Session, WrongType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ipyviews.client.executor import ViewExecutor
    from ipyviews.client.session import Targets


class ViewFactory(Session):
    """A session whose engines are reached through views."""

    def __getitem__(self, key: int | slice | list[int] | tuple[int, ...] | range) -> DirectView:
        """Return a view of engines.

        Parameters
        ----------
        key
            An engine id, negative ones counting from the end; a slice of the ids; or ids.
        """
        if not _is_key(key):
            raise WrongType(f"key by int/slice/iterable of ints only, not {type(key)}")
        known = self.ids
        if isinstance(key, int) and key in self.connection.engines:
            # Also one that is gone: its view can restart it.
            return DirectView(self, targets=key)
        self._require(known)
        chosen = self.resolve(key)
        return DirectView(self, targets=chosen[0] if isinstance(key, int) else chosen)

    def __iter__(self) -> Iterator[DirectView]:
        return (DirectView(self, targets=engine) for engine in self.ids)

    def direct_view(self, targets: Targets = "all", **flags: Any) -> DirectView:
        """Return a view of named engines; ``"all"`` means those there are at each call."""
        if isinstance(targets, str):
            if targets.lower() != "all":
                raise WrongType(f"{targets!r} not valid str target, must be 'all'")
            return DirectView(self, targets="all", **flags)
        chosen = self.resolve(targets)
        one = isinstance(targets, int)
        return DirectView(self, targets=chosen[0] if one else chosen, **flags)

    def load_balanced_view(self, targets: Targets = None, **flags: Any) -> LoadBalancedView:
        """Return a view whose calls run on whichever of the engines is free."""
        everywhere = targets is None or (isinstance(targets, str) and targets.lower() == "all")
        chosen = None if everywhere else self.resolve(targets)
        return LoadBalancedView(self, targets=chosen, **flags)

    def broadcast_view(
        self, targets: Targets = "all", is_coalescing: bool = False, **flags: Any
    ) -> BroadcastView:
        """Return a view whose calls travel as one message; its targets are fixed now."""
        return BroadcastView(
            self, targets=self.resolve(targets), is_coalescing=is_coalescing, **flags
        )

    def executor(self, targets: Targets = None) -> ViewExecutor:
        """Return an executor, as in `concurrent.futures`, of a load-balanced view."""
        return self.load_balanced_view(targets).executor


def _is_key(key: object) -> bool:
    return isinstance(key, int | slice | list | tuple | range) and not isinstance(key, bool)
