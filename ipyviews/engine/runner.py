"""Runs calls in the kernel's main thread, one at a time, between its cells."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import time
from typing import TYPE_CHECKING, Any

from . import names, outcomes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator

    from .adapter import Kernel
    from .backlog import Backlog, Request
    from .interrupts import Interrupts
    from .outcomes import Outcome

#: After so long the kernel's other messages get their turn [s].
TURN_S = 0.005


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
    reply
        Sends an ``apply_reply``.
    """

    def __init__(
        self,
        kernel: Kernel,
        backlog: Backlog,
        interrupts: Interrupts,
        reply: Callable[[Request, str, dict[str, Any], list[Any]], None],
    ) -> None:
        self._kernel = kernel
        self._backlog = backlog
        self._interrupts = interrupts
        self._reply = reply
        self.scope = names.Scope(kernel.namespace)
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

    def remember_context(self) -> None:
        """Let calls see context variables as the cell that just ended left them."""
        self._context = contextvars.copy_context()

    def refuse(self, request: Request, outcome: Outcome) -> None:
        """Answer a call that is not run."""
        now = time.time()
        self._send(request, outcome, now, now, wrote=False)

    def close(self) -> None:
        """Stop awaiting an async call."""
        if self._async_task is not None:
            self._async_task.cancel()

    def _turn(self) -> None:
        deadline = time.monotonic() + TURN_S
        while True:
            with self._backlog.lock:
                request = self._backlog.take()
                if request is None:
                    self._scheduled = False
                    return
            self._run(request)
            if time.monotonic() > deadline:
                self._kernel.call_soon(self._turn, self._context.copy())
                return

    def _run(self, request: Request) -> None:
        self._interrupts.install()
        self._kernel.begin(request)
        started = time.time()
        try:
            outcome = perform(request, self.scope)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its answer
            outcome = self._failure(error)
        if isinstance(outcome, Pending):
            self._interrupts.suspend()
            waiting = self._wait(request, outcome.awaitable, started)
            self._async_task = asyncio.get_running_loop().create_task(waiting)
        else:
            self._complete(request, outcome, started)

    async def _wait(self, request: Request, awaitable: Awaitable[Any], started: float) -> None:
        # Only now: cancelled before it began, it would end without an answer.
        self._interrupts.awaiting = asyncio.current_task()
        try:
            outcome = await Stepped(perform_async(request, awaitable), self._interrupts.step)
        except BaseException as error:  # noqa: BLE001 - also what a cancel became
            ours = self._interrupts.cancelled == request.attempt
            if isinstance(error, asyncio.CancelledError) and ours:
                error = KeyboardInterrupt().with_traceback(error.__traceback__)
            outcome = self._failure(error)
        self._complete(request, outcome, started)
        self.wake()

    def _failure(self, error: BaseException) -> Outcome:
        if isinstance(error, NameError):
            names.explain_missing(error, self._kernel.namespace)
        return outcomes.failure(error)

    def _complete(self, request: Request, outcome: Outcome, started: float) -> None:
        ended = time.time()
        self._interrupts.end_task()
        wrote = self._kernel.end(request)
        self._send(request, outcome, started, ended, wrote=wrote)

    def _send(
        self, request: Request, outcome: Outcome, started: float, ended: float, *, wrote: bool
    ) -> None:
        outcome.content |= {
            "started": started,
            "ended": ended,
            "output": wrote,
            "eventloop": self._kernel.in_eventloop,
        }
        self._reply(request, "apply_reply", outcome.content, outcome.buffers)


def perform(request: Request, scope: names.Scope) -> Outcome | Pending:
    """Load, call, pickle. Between this frame and the handler's there is only a task's code."""
    python, here = request.ours.get("python"), names.implementation()
    if python is not None and python != here:
        return outcomes.refusal(
            "UsageError",
            f"the function or an argument travels by value from {python}, and this engine runs "
            f"{here}: put it in a module that both can import, or send source with execute or %px",
        )
    scope.client = str(request.ours.get("client", ""))
    index = request.content["index"]
    if len(index) != 1 or len(request.buffers) != 2 + index[0][1]:
        raise ValueError("an apply_request must have one task and all of its buffers")
    function, arguments, *rest = request.buffers
    called = names.loads(function, scope)
    args, kwargs = names.loads(arguments, scope, _writable(rest))
    value = called(*args, **kwargs)
    if inspect.isawaitable(value):
        return Pending(value)
    return outcomes.success(value, _name(request))


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


async def perform_async(request: Request, awaitable: Awaitable[Any]) -> Outcome:
    """Await and pickle; the async half of `perform`."""
    return outcomes.success(await awaitable, _name(request))


#: Frames of these have only a task's code above them.
TASK_CODE = frozenset({perform.__code__, perform_async.__code__})


def _writable(buffers: list[Any]) -> Iterator[Any]:
    for buffer in buffers:
        view = memoryview(buffer)
        yield bytearray(view) if view.readonly else buffer


def _name(request: Request) -> str:
    return str(request.ours.get("name") or "the function")
