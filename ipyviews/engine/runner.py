"""Runs calls in the kernel's main thread, one at a time, between its cells."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import os
import sys
import time
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import dependencies, names, outcomes, pickling
from .frames import too_much

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from .adapter import Kernel
    from .backlog import Backlog, Call
    from .interrupts import Interrupts
    from .outcomes import Outcome
    from .replies import Replies
    from .sharing import Sharing

#: So many functions are remembered [count], of so large pickles [bytes].
MOST_FUNCTIONS = 64
MOST_BYTES = 4096

#: After so long the kernel's other messages get their turn [s].
TURN_S = 0.005

#: Between calls the channel is looked at so often [s]: it takes a tenth of the time of a small one.
LOOK_S = 0.0002


class Pending:
    """What a call of an async function returns: still to be awaited."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.awaitable = awaitable


class Runner:
    """The main thread's side of the apply channel.

    Parameters
    ----------
    kernel, backlog, interrupts
        The engine's other parts.
    replies
        Takes the answers.
    look
        Takes what has arrived on the channel.
    sharing
        Has what came, and goes, by shared memory.
    """

    def __init__(
        self,
        kernel: Kernel,
        backlog: Backlog,
        interrupts: Interrupts,
        replies: Replies,
        look: Callable[[], None],
        *,
        sharing: Sharing,
    ) -> None:
        self._sharing = sharing
        self._kernel = kernel
        self._backlog = backlog
        self._interrupts = interrupts
        self._replies = replies
        self._look = look
        self.scope = names.Scope(kernel.namespace)
        self._pid = os.getpid()
        self._scheduled = False
        # Referred to, for the loop does not.
        self._async_task: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()

    def wake(self) -> None:
        """Run what waits, soon; from any thread."""
        with self._backlog.lock:
            if self._scheduled or not self._backlog.waiting:
                return
            self._scheduled = True
        self._kernel.call_soon(self._turn, self._context.copy())

    def take_turn(self) -> None:
        """Look at the channel and run what waits; on the kernel's loop."""
        with self._backlog.lock:
            is_coming, self._scheduled = self._scheduled, True
        try:
            self._look()
        finally:
            if not is_coming:
                self._context.copy().run(self._turn)

    def remember_context(self) -> None:
        """Let calls see context variables as the cell that just ended left them."""
        self._context = contextvars.copy_context()

    def refuse(self, call: Call, outcome: Outcome) -> None:
        """Answer a call that is not run."""
        now = time.time()
        self._send(call, outcome, now, now, wrote=False)

    def close(self) -> None:
        """Stop awaiting an async call."""
        if self._async_task is not None:
            self._async_task.cancel()

    def _turn(self) -> None:
        deadline, look_at = time.monotonic() + TURN_S, 0.0
        while True:
            with self._backlog.lock:
                call = self._backlog.take()
                if call is None:
                    self._scheduled = False
                    return
            self._run(call)
            now = time.monotonic()
            # What is urgent need not wait until the other thread gets its turn. Last of all in any
            # case: an answer that was sent may have swallowed the sign of what has arrived.
            if now > look_at or not self._backlog.waiting:
                self._look()
                look_at = now + LOOK_S
            if now > deadline:
                self._kernel.go_on(self._turn, self._context.copy())
                return

    def _run(self, call: Call) -> None:
        self._interrupts.install()
        self._kernel.begin(call)
        started = time.time()
        try:
            self._sharing.open(call)
            outcome = perform(call, self.scope)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its answer
            outcome = self._failure(error)
        self._end_if_forked(outcome)
        if isinstance(outcome, Pending):
            self._interrupts.suspend()
            waiting = self._wait(call, outcome.awaitable, started)
            self._async_task = asyncio.get_running_loop().create_task(waiting)
        else:
            self._complete(call, outcome, started)

    async def _wait(self, call: Call, awaitable: Awaitable[Any], started: float) -> None:
        # Only now: cancelled before it began, it would end without an answer.
        self._interrupts.awaiting = asyncio.current_task()
        try:
            outcome = await Stepped(perform_async(call, awaitable), self._interrupts.step)
        except BaseException as error:  # noqa: BLE001 - also what a cancel became
            ours = self._interrupts.cancelled == call.attempt
            if isinstance(error, asyncio.CancelledError) and ours:
                error = KeyboardInterrupt().with_traceback(error.__traceback__)
            outcome = self._failure(error)
        self._end_if_forked(outcome)
        self._complete(call, outcome, started)
        self.wake()

    def _end_if_forked(self, outcome: Outcome | Pending) -> None:
        """End a child that the call has forked, and that came back from the call too."""
        if os.getpid() == self._pid:
            return
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        said = {} if isinstance(outcome, Pending) else outcome.content
        left = said.get("ename") == "SystemExit" and said.get("evalue") in ("", "0", "None")
        os._exit(0 if left or said.get("status") == "ok" else 1)

    def _failure(self, error: BaseException) -> Outcome:
        if isinstance(error, NameError):
            names.explain_missing(error, self.scope)
        outcome = outcomes.failure(error)
        if dependencies.is_unmet(error):
            outcome.content["unmet"] = True
        return outcome

    def _complete(self, call: Call, outcome: Outcome, started: float) -> None:
        ended = time.time()
        self._interrupts.end_task()
        if self._backlog.begun is not None:
            self._backlog.begun.end(call.number)
        wrote = self._kernel.end(call)
        self._sharing.close_call(call, outcome)
        if problem := too_much(outcome.buffers):
            outcomes.shorten(outcome, _name(call), problem)
        self._send(call, outcome, started, ended, wrote=wrote)
        self._backlog.unanswered = None
        # What this client is to know is in its reply.
        self._sharing.tell()

    def _send(
        self, call: Call, outcome: Outcome, started: float, ended: float, *, wrote: bool
    ) -> None:
        outcome.content |= {
            "started": started,
            "ended": ended,
            "output": wrote,
            "eventloop": self._kernel.in_eventloop,
        }
        # Those behind it are others' then.
        is_last = call.is_direct and not self._backlog.direct
        at_once = wrote or is_last or not self._backlog.waiting
        self._replies.add(call, outcome, at_once=at_once, ran_s=ended - started)


def perform(call: Call, scope: names.Scope) -> Outcome | Pending:
    """Load, call, pickle. Between this frame and the handler's there is only a task's code."""
    python, here = call.ours.get("python"), names.implementation()
    if python is not None and python != here:
        return outcomes.refusal(
            "UsageError",
            f"the function or an argument travels by value from {python}, and this engine runs "
            f"{here}: put it in a module that both can import, or send source with execute or %px",
        )
    scope.client = call.client
    function = call.request.function
    if function is None:
        function = load_function(call.request.buffers[0], scope)
        if is_plain(function, scope):
            call.request.function = function
    args, kwargs = names.loads(call.arguments, scope, _writable(call.take_buffers()))
    value = function(*args, **kwargs)
    if inspect.isawaitable(value):
        return Pending(value)
    return outcomes.success(value, _name(call))


def load_function(data: Any, scope: names.Scope) -> Any:
    """Load the function of a call, or take that of an earlier one if nothing can tell them apart.

    For a small call this is a tenth of the time from the client and back.
    """
    pickled = bytes(data[:MOST_BYTES])
    known = scope.functions.get(pickled)
    if known is not None and len(data) <= MOST_BYTES and is_plain(known, scope):
        return known
    came = scope.injections
    function = names.loads(data, scope)
    dependencies.check(function)
    if len(data) <= MOST_BYTES and came == scope.injections and is_plain(function, scope):
        if len(scope.functions) >= MOST_FUNCTIONS:
            scope.functions.clear()
        scope.functions[pickled] = function
    return function


def is_plain(function: Any, scope: names.Scope) -> bool:
    """Tell whether calls may share a function: nothing in it can carry over from one to the next.

    One that has its home in the namespace may be another there after a call.
    """
    return (
        type(function) is FunctionType
        and function.__globals__ is scope.names
        and function is not scope.names.get(function.__name__)
        and not (function.__closure__ or function.__kwdefaults__ or function.__dict__)
        and all(type(value) in pickling.PLAIN for value in function.__defaults__ or ())
    )


class Stepped:
    """Awaits a coroutine, running each of its steps by `step(advance, value)`."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, Outcome], step: Callable[[Any, Any], Any]
    ) -> None:
        self._coroutine = coroutine
        self._step = step

    def __await__(self) -> Generator[Any, Any, Outcome]:
        """Pass on what the coroutine waits for, and what comes of it."""
        advance: Callable[[Any], Any] = self._coroutine.send
        value: Any = None
        while True:
            try:
                waits_for = self._step(advance, value)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            try:
                value, advance = (yield waits_for), self._coroutine.send
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                value, advance = error, self._coroutine.throw


async def perform_async(call: Call, awaitable: Awaitable[Any]) -> Outcome:
    """Await and pickle; the async half of `perform`."""
    return outcomes.success(await awaitable, _name(call))


#: Frames of these have only a task's code above them.
TASK_CODE = frozenset({perform.__code__, perform_async.__code__})


def _writable(buffers: list[Any]) -> list[Any]:
    return [bytearray(one) if memoryview(one).readonly else one for one in buffers]


def _name(call: Call) -> str:
    return str(call.ours.get("name") or "the function")
