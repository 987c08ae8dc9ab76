"""One engine, as the controller sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from ipyviews.controller.joining import Joined, Joining
    from ipyviews.controller.links import Link
    from ipyviews.ids import Attempt, EngineId
    from ipyviews.launching.kernels import ExitReport, KernelRequest, LaunchedKernel


@dataclass(slots=True)
class Engine:
    """One engine, through all its lives."""

    id: EngineId
    request: KernelRequest
    incarnation: int = 0
    state: str = "starting"
    #: When it got into that state [s since the epoch].
    since: float = field(default_factory=time.time)
    kernel: LaunchedKernel | None = None
    link: Link | None = None
    joining: Joining | None = None
    joined: Joined | None = None
    #: What the controller before this one knew, until it has joined again.
    former: Joined | None = None
    #: What it runs for that one.
    stray: Attempt | None = None
    #: How it ended before it had.
    report: ExitReport | None = None
    #: What it had begun when it was lost last.
    begun: tuple[Attempt, ...] = ()
    #: Whether it is started once more if its process ends before it is ready.
    has_spare: bool = True
    #: Whether that is to be done now.
    is_stillborn: bool = False
    reason: str | None = None
    #: The coroutine that brings it up or down, if any.
    work: asyncio.Task[None] | None = None

    @property
    def has_served(self) -> bool:
        """Whether its process has run anything of its users."""
        return self.former is not None or (self.joining is not None and self.joining.sets_up)

    def enter(self, state: str, reason: str | None = None) -> None:
        """Change the state."""
        self.state = state
        self.since = time.time()
        self.reason = reason

    def info(self) -> dict[str, Any]:
        """Return what clients are told, as docs/protocol.md says."""
        kernel, joined = self.kernel, self.joined
        return {
            "id": self.id,
            "incarnation": self.incarnation,
            "state": self.state,
            "kernel": kernel.kernel_name if kernel else self.request.kernel,
            "language": joined.language if joined else None,
            "implementation": joined.implementation if joined else None,
            "apply": joined is not None and joined.can_apply,
            "place": joined.place if joined else "",
            "pid": (joined.pid if joined else None) or (kernel.pid if kernel else None),
            "connection_file": str(kernel.connection_file) if kernel else None,
            "reason": self.reason,
        }
