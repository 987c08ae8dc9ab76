"""When the controller dies, the agent starts another one, and clients go on with that.

A broken connection is no verdict: the same controller may be back in a moment, or the connection
file names another. To that one everything is sent again that had no answer. What it finds running
or answered on an engine does not run again; see docs/design.md.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ipyviews.client.nesting import own_cluster
from ipyviews.errors import ClusterError, EngineError, UsageError
from ipyviews.launching import rundir

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence

    from ipyviews.client.address import Address
    from ipyviews.client.answers import Answer
    from ipyviews.client.endings import Endings
    from ipyviews.client.ledger import Ledger
    from ipyviews.client.link import Link
    from ipyviews.client.nesting import Nesting
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.wire import Frame

    Fields = dict[str, Any]

log = logging.getLogger(__name__)

#: After a broken connection, how long any word may take to prove that it is back [s].
DOUBT_S = 1.0

#: A new client thinks of that after so long without an answer [s].
WATCH_S = 0.5

#: A successor is looked for so often, and so long while somebody may start one [s].
LOOK_S = 0.02
RETURN_S = 30.0

#: How often it is looked whether output is still shown [s].
QUIET_S = 0.1

#: Controllers that this process has told people of, by their lives.
_said: deque[str] = deque(maxlen=100)

#: What may be asked twice: it changes nothing, or nothing more.
REPEATABLE = frozenset(
    {"hello", "ping", "status", "queue", "history", "db", "result", "purge", "cancel"}
    | {"complete", "inspect"}
)

#: Larger arguments that are the user's own memory are not kept to be sent again [bytes].
MOST_KEPT = 16 * 1024 * 1024


class Asked(NamedTuple):
    """A request on the control channel without an answer."""

    answer: Answer[Fields]
    name: str
    content: Fields


class Source:
    """A request on the shell channel, for the tasks it made while they have no reply."""

    __slots__ = ("has_left", "message")

    def __init__(self) -> None:
        #: Whether it was handed to the socket.
        self.has_left = False
        #: Type, name, content, metadata and buffers; None when it is too large to be kept.
        self.message: tuple[str, str, bytes, Mapping[str, Any], Sequence[Frame]] | None = None

    def keep(
        self,
        msg_type: str,
        name: str,
        content: bytes,
        metadata: Mapping[str, Any],
        buffers: Sequence[Frame],
    ) -> None:
        """Keep what leaves now, as it is now."""
        self.has_left = True
        owned = [type(buffer) is bytes for buffer in buffers]
        foreign = zip(buffers, owned, strict=True)
        if sum(memoryview(one).nbytes for one, is_owned in foreign if not is_owned) > MOST_KEPT:
            return
        copies = [buffer if type(buffer) is bytes else bytes(buffer) for buffer in buffers]
        self.message = (msg_type, name, content, metadata, copies)

    def again(self, places: list[int], endings: Endings) -> tuple[Any, ...]:
        """Return the message that asks again for some of its tasks."""
        assert self.message is not None  # noqa: S101 - the caller has looked
        msg_type, name, content, metadata, buffers = self.message
        ours = endings.told({**metadata["ipyviews"], "again": places})
        return msg_type, name, content, {**metadata, "ipyviews": ours}, buffers


class Returning:
    """Waits for the controller to come back. Used in the I/O thread.

    Parameters
    ----------
    address
        Where the controller was.
    loop
        Of the I/O thread.
    link, ledger
        What is sent, and the tasks without a reply.
    asked
        Requests without an answer, by id.
    greet
        Says hello.
    welcomed
        Called with the answer to that.
    nesting
        What the call waits for that this client is used in.
    end
        Ends a task with an error.
    """

    def __init__(
        self,
        address: Address,
        loop: AbstractEventLoop,
        link: Link,
        ledger: Ledger,
        asked: dict[str, Asked],
        *,
        greet: Callable[[], Answer[Fields]],
        welcomed: Callable[[Fields], None],
        nesting: Nesting,
        end: Callable[[Task, Exception], None],
    ) -> None:
        self._folder = Path(address.folder) if address.folder else None
        self._loop = loop
        self._link = link
        self._ledger = ledger
        self._asked = asked
        self._greet = greet
        self._welcomed = welcomed
        self._nesting = nesting
        self._end = end
        self._is_looking = False
        self._since = 0.0
        #: Tasks to be stopped that have no reply so far.
        self._cancelled: set[str] = set()

    def asks(self, name: str, content: Fields) -> None:
        """Note a request: tasks that are to be stopped are so by the next controller too."""
        if name == "cancel":
            named = self._cancelled.union(content["tasks"])
            self._cancelled = named.intersection(self._ledger.pending)

    def watch(self, greeted: Answer[Fields]) -> None:
        """Look for another controller if a new client got no answer; its file may be an old one."""
        if not greeted.done() and self._is_hopeful():
            self._link.is_down = True
            self.doubt()

    def doubt(self) -> None:
        """Take in that the connection broke."""
        self._since = time.monotonic()
        if not self._is_looking:
            self._is_looking = True
            self._look()

    def _look(self) -> None:
        if not self._link.is_down:
            self._is_looking = False
            return
        waited_s = time.monotonic() - self._since
        life, why = self._successor(), self._reason()
        if life not in ("", self._link.life):
            self._meet(life)
        elif why:
            self._link.lose(f"is not started again: {why}")
            return
        elif waited_s > DOUBT_S and not (self._is_hopeful() and waited_s < RETURN_S):
            self._link.lose("closed the connection: it has died")
            return
        self._loop.call_later(LOOK_S, self._look)

    def _is_hopeful(self) -> bool:
        """Whether somebody is there who starts another controller."""
        return self._folder is not None and rundir.is_running(self._folder)

    def _successor(self) -> str:
        """Name the controller that the connection file is of."""
        try:
            file = (self._folder / "cluster.json").read_bytes() if self._folder else b"{}"
            return str(json.loads(file)["ipyviews"]["life"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _reason(self) -> str:
        """Tell why there will be no other, if that is known."""
        try:
            return (self._folder / rundir.END_FILE).read_text() if self._folder else ""
        except OSError:
            return ""

    # -- another controller ---------------------------------------------------------------------

    def _meet(self, life: str) -> None:
        self._link.meet(life)
        self._greet().add_done_callback(partial(self._greeted, life))

    def _greeted(self, life: str, answer: Any) -> None:
        if life != self._link.life or not self._link.is_down:
            return
        if (error := answer.exception()) is not None:
            self._link.lose(f"was replaced by one that refused this client ({error})")
            return
        with self._ledger.lock:
            self._welcomed(answer.result())
            self._link.resume(self._asked)
            lost = self._send_again()
            self._cancel_again()
            # Questions are about what was sent before.
            refused = self._ask_again()
        for asked in refused:
            asked.answer.settle(_unanswered(asked.name))
        for task in lost:
            self._end(task, _may_have_run(task))
        self._nesting.again()
        self._ledger.bell.ring()
        if life not in _said and own_cluster() is None:
            # Once in a process, which may have several clients; on engines nobody reads it.
            _said.append(life)
            self._tell_people(answer.result())

    def _tell_people(self, welcome: Fields) -> None:
        """Say that there is another controller; not among output that is shown as it comes."""
        if self._ledger.is_listened:
            self._loop.call_later(QUIET_S, self._tell_people, welcome)
            return
        log.warning(
            "the controller of cluster %r died; another one has taken over its engines and the "
            "calls without an answer",
            welcome.get("cluster_id"),
        )

    def _ask_again(self) -> list[Asked]:
        """Ask again what may be asked twice, and return the rest."""
        refused = []
        for msg_id, asked in list(self._asked.items()):
            ends_all = asked.name == "shutdown" and asked.content.get("cluster") is True
            if asked.name in REPEATABLE or ends_all or self._link.was_withheld(msg_id):
                self._link.tell(f"{asked.name}_request", asked.content, msg_id)
            else:
                del self._asked[msg_id]
                refused.append(asked)
        return refused

    def _cancel_again(self) -> None:
        self._cancelled.intersection_update(self._ledger.pending)
        if self._cancelled:
            self._link.tell("cancel_request", {"tasks": sorted(self._cancelled)})

    def _send_again(self) -> list[Task]:
        """Send again all requests with tasks that have no reply; return those that cannot be."""
        again: dict[Source, list[Task]] = {}
        lost, endings = [], self._ledger.endings
        for task in self._ledger.pending.values():
            source = task.source
            if source is None or (source.has_left and source.message is None):
                lost.append(task)
            elif source.has_left:
                again.setdefault(source, []).append(task)
        endings.is_needed = True
        endings.fail(lost)
        for source, tasks in again.items():
            try:
                self._link.send(*source.again([_place(task) for task in tasks], endings))
            except UsageError:
                endings.fail(tasks)
                lost += tasks
        return lost


def _place(task: Task) -> int:
    return int(task.id.rpartition(".")[2])


def _unanswered(name: str) -> ClusterError:
    return ClusterError(
        f"The controller died before it answered {name!r}, which may have been done all the same. "
        "Another one took over: look at Client.status() and ask again."
    )


def _may_have_run(task: Task) -> EngineError:
    return EngineError(
        f"The controller died while it had task {task.id}, which may have run. Another one took "
        "over, but what the task was sent is too large to be kept by the client and sent again.",
        engine=task.engine,
        task=task.id,
    )
