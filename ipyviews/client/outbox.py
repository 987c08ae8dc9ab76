"""Requests on their way to the I/O thread; calls made meanwhile leave with the last one.

The first call of a burst leaves at once, and its request is closed. The next is open for a moment,
until the thread comes to it: whatever is called like it joins, so that a burst makes few messages.
"""

from __future__ import annotations

import time
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from ipyviews.client.returning import Source
from ipyviews.client.tasks import Task
from ipyviews.ids import task_id
from ipyviews.protocol.wire import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ipyviews.client.ledger import Ledger
    from ipyviews.client.tasks import Kind
    from ipyviews.protocol.payload import Payload
    from ipyviews.protocol.wire import Frame

    #: What calls come after, and what they follow, as docs/protocol.md has them.
    Needs = tuple[dict[str, Any] | None, dict[str, Any] | None]

    class Post(Protocol):
        """`IOThread.post`."""

        def __call__(self, action: Callable[[], None], *, patiently: bool = False) -> None:
            """Run something in the I/O thread."""

    #: Type, id, content, metadata and buffers of a request.
    Send = Callable[[str, str, bytes, Mapping[str, Any], Sequence[Frame]], None]

#: A request takes in so many calls that were made one by one [count], [bytes] ...
MOST_CALLS = 1000
MOST_BYTES = 1024 * 1024

#: ... none of them larger than this [bytes].
SMALL_BYTES = 65_536

#: The name of a task weighs about so much [bytes].
NAME_BYTES = 25

#: What of a request's metadata may be different for each of its calls.
DEPENDENCIES = ("after", "follow")

#: A call that comes so long after the one before begins a burst, and its caller waits at most so
#: long until it has left [s].
BURST_S = 0.005
LEAVE_S = 0.002

#: A call that comes so soon after the one before [s] waits a moment for others to leave with it,
#: unless somebody begins to wait for a result.
RAPID_S = 0.0005


class Request(Source):
    """Calls of one function that may leave in one message.

    Parameters
    ----------
    name
        Its id.
    function
        The pickled function.
    ours
        What is ours in its metadata, targets and dependencies aside.
    is_direct
        Whether each call is for a certain engine.
    """

    def __init__(
        self, name: str, function: bytes, ours: Mapping[str, Any], *, is_direct: bool
    ) -> None:
        super().__init__()
        self.name = name
        #: The number of the latest call in it.
        self.number = 0
        self.is_open = True
        self._function = function
        self._ours = ours
        self._is_direct = is_direct
        # Packed calls, their engines and dependencies, and how many tasks and bytes there are with
        # them; each entry is added at once: Ctrl-C leaves nothing by halves.
        self._parts: list[tuple[Payload, Sequence[int | None], Needs, int, int]] = []

    def __len__(self) -> int:
        """Count its tasks."""
        return self._parts[-1][3] if self._parts else 0

    def takes(
        self, payload: Payload, ours: Mapping[str, Any], needs: Needs, *, is_direct: bool
    ) -> bool:
        """Whether these calls, each for one engine, may go with it."""
        weight = payload.weight + self._weigh(needs)
        size = self._parts[-1][4] + weight
        return (
            self.is_open
            and weight <= SMALL_BYTES
            and len(self) + len(payload.index) <= MOST_CALLS
            and size <= MOST_BYTES
            and self._is_direct is is_direct
            and self._function == payload.function
            and self._ours == ours
        )

    def add(self, payload: Payload, engines: Sequence[int | None], needs: Needs) -> None:
        """Take in calls."""
        size = self._parts[-1][4] if self._parts else 0
        size += payload.weight + self._weigh(needs)
        self._parts.append((payload, engines, needs, len(self) + len(engines), size))
        if len(engines) != len(payload.index):
            # One call for several engines.
            self.is_open = False

    def pack(self) -> tuple[dict[str, Any], dict[str, Any], list[Frame]]:
        """Return content, metadata and buffers."""
        ours = dict(self._ours)
        for place, name in enumerate(DEPENDENCIES):
            values = [part[2][place] for part in self._parts for _ in part[1]]
            if any(values):
                is_same = values.count(values[0]) == len(values)
                ours[name] = values[0] if is_same else values
        payloads = [payload for payload, *_ in self._parts]
        if self._is_direct:
            ours["targets"] = list(chain.from_iterable(part[1] for part in self._parts))
        index = list(chain.from_iterable(payload.index for payload in payloads))
        arguments = b"".join([payload.arguments for payload in payloads])
        large = chain.from_iterable(payload.buffers for payload in payloads)
        return {"index": index}, {"ipyviews": ours}, [self._function, arguments, *large]

    def forget(self) -> None:
        """Let go of the calls: they are packed, and their arguments may be large."""
        self._parts = []

    def _weigh(self, needs: Needs) -> int:
        """Estimate what dependencies add; those of the call before are told once."""
        if not any(needs) or (self._parts and self._parts[-1][2] == needs):
            return 0
        return NAME_BYTES * sum(len(one["tasks"]) for one in needs if one)


class Outbox:
    """What is to be sent on the shell channel. Hold the ledger's lock.

    Parameters
    ----------
    session
        Begins the names of requests.
    ledger
        Expects the replies.
    post, send
        Run something in the I/O thread, see `IOThread.post`; and send a message there.
    """

    def __init__(
        self,
        session: str,
        ledger: Ledger,
        post: Post,
        send: Send,
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._post = post
        self._send = send
        #: The number of the latest request or call.
        self.number = 0
        # When the latest call was made, by the monotonic clock [s], and to be packed.
        self._last = self._packed = 0.0
        # The latest request with calls, unless another came after it: the order is kept.
        self._latest: Request | None = None

    def let_leave(self) -> None:
        """Let the first call of a burst leave before its caller goes on.

        Sending it, the I/O thread lets go of Python's lock for each frame; from a caller that went
        on computing it would get the lock back 5 ms later each time.
        """
        now = time.monotonic()
        last, self._last = self._last, now
        if now - last > BURST_S:
            number, ledger = self.number, self._ledger
            ledger.bell.wait_for(lambda: ledger.sent >= number, LEAVE_S, lambda: None)

    def next_id(self) -> str:
        """Name a request."""
        self.number += 1
        return f"{self._session}-{self.number}"

    def call(
        self, payload: Payload, engines: Sequence[int | None], ours: Mapping[str, Any]
    ) -> list[Task]:
        """Send packed calls; see `Connection.call`."""
        request, is_direct = self._latest, engines[0] is not None
        is_single, is_patient = len(engines) == len(payload.index), self._is_patient(len(engines))
        needs: Needs = (ours.get("after"), ours.get("follow"))
        shared = ours
        if any(needs):
            shared = {name: value for name, value in ours.items() if name not in DEPENDENCIES}
        if (
            is_single
            and request is not None
            and request.takes(payload, shared, needs, is_direct=is_direct)
        ):
            self.number += 1
        else:
            request = Request(self.next_id(), payload.function, shared, is_direct=is_direct)
        number, first = self.number, len(request)
        tasks = self._tasks("apply", request.name, engines, ours, payload.weight, first, request)
        try:
            self._ledger.enter(tasks)
            request.add(payload, engines, needs)
            request.number = number
            if not first:
                self._latest = request
                self._post(partial(self._leave, request), patiently=is_patient)
        except BaseException:
            # Ctrl-C at this very moment: nobody must wait for what may not have been sent.
            self._latest = None
            self._ledger.leave(tasks)
            raise
        return tasks

    def execute(
        self, content: Mapping[str, Any], engines: Sequence[int | None], ours: Mapping[str, Any]
    ) -> list[Task]:
        """Send a cell; see `Connection.execute`."""
        packed = pack(content)
        self._latest, name = None, self.next_id()
        source = Source()
        tasks = self._tasks("execute", name, engines, ours, 0, 0, source)
        message = ("execute_request", name, packed, {"ipyviews": ours}, ())
        try:
            self._ledger.enter(tasks)
            self._post(partial(self._pass_on, source, self.number, *message))
        except BaseException:
            self._ledger.leave(tasks)
            raise
        return tasks

    def _is_patient(self, calls: int) -> bool:
        """Whether so many calls, made now, may wait for others."""
        now = time.monotonic()
        last, self._packed = self._packed, now
        return calls == 1 and now - last < RAPID_S

    def _tasks(  # noqa: PLR0917 - what all its tasks share
        self,
        kind: Kind,
        request: str,
        engines: Sequence[int | None],
        ours: Mapping[str, Any],
        size_bytes: int,
        first: int,
        source: Source,
    ) -> list[Task]:
        now, share = time.time(), size_bytes // max(1, len(engines))
        label, name = ours.get("label"), str(ours.get("name", ""))
        after, follow = ours.get("after"), ours.get("follow")
        return [
            Task(
                task_id(request, place),
                kind,
                engine,
                now,
                label=label,
                function=name,
                size_bytes=share,
                request=self.number,
                after=after,
                follow=follow,
                source=source,
            )
            for place, engine in enumerate(engines, first)
        ]

    # -- in the I/O thread --------------------------------------------------------------------

    def _leave(self, request: Request) -> None:
        with self._ledger.lock:
            request.is_open = False
            if self._latest is request:
                self._latest = None
        content, metadata, buffers = request.pack()
        request.forget()
        message = ("apply_request", request.name, pack(content), metadata, buffers)
        self._pass_on(request, request.number, *message)

    def _pass_on(self, source: Source, number: int, *message: Any) -> None:
        source.keep(*message)
        self._send(*self._ledger.endings.tell(*message))
        self._ledger.sent = number
        self._ledger.bell.ring()
