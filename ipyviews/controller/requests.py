"""Clients' requests on the shell channel: one message in, one or more tasks for the core.

A request is checked whole before its first task is made. The frames stay here, as they came, until
the core says that the task is final; they are cut for an engine only when they are sent.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipyviews.controller.performer import error_content
from ipyviews.core.events import Kind, TaskSubmitted
from ipyviews.errors import IPyViewsError, UsageError
from ipyviews.ids import RequestId, task_id
from ipyviews.protocol.messages import parse_submission

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from ipyviews.controller.clients import Clients
    from ipyviews.core.events import Event
    from ipyviews.ids import ClientId, EngineId, TaskId
    from ipyviews.protocol.messages import Submission
    from ipyviews.protocol.wire import Frame, Message

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingTask:
    """A task that is not final: where its frames are and who asked."""

    client: ClientId
    kind: Kind
    #: The engine of a direct task.
    engine: EngineId | None
    request: Submission
    index: int
