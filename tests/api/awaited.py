"""An `AsyncClient` under the names of `Client`: what blocks there is awaited here.

The client lives in a loop in a thread of its own. Every call is made in that loop, must return at
once, and what it returns is awaited there where the blocking call would wait. So one test says
what both clients do.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from ipyviews import AsyncClient, AsyncResult
from ipyviews.client.base import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import ipyviews

#: A call that keeps the loop longer than this has blocked it [s].
AT_ONCE_S = 2.0

#: No test waits longer [s].
LIMIT_S = 60.0


class Loop:
    """A loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        #: By the identity of what they stand for, which they keep alive.
        self.stands: WeakValueDictionary[int, Stand] = WeakValueDictionary()

    def call(self, function: Callable[[], Any], *, waits: bool) -> Any:
        """Call `function` in the loop; await a coroutine it returns, and with `waits` a result."""

        async def run() -> Any:
            began = time.monotonic()
            value = function()
            assert time.monotonic() - began < AT_ONCE_S, "the loop was blocked"
            if inspect.iscoroutine(value):
                value = await value
            if waits and isinstance(value, AsyncResult):
                # As in the blocking client, the result stays when only the waiting is over.
                values = await asyncio.shield(asyncio.ensure_future(_await(value)))
                return value if value._fname == "execute" else values
            return value

        return self.wrap(asyncio.run_coroutine_threadsafe(run(), self._loop).result(LIMIT_S))

    def wrap(self, value: Any) -> Any:
        """Give what belongs to the client the same treatment: one stand for each thing."""
        kind = AwaitedView if isinstance(value, View) else AwaitedResult
        if not isinstance(value, View | AsyncResult) or Stand in type(value).__mro__:
            return self.stands.get(id(value), value)
        stand = self.stands.get(id(value)) or kind(value, self)
        self.stands[id(value)] = stand
        return stand

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


async def _await(result: AsyncResult) -> Any:
    return await result


class Stand:
    """Stands for `_real`: its attributes are read, and its methods called, in the loop."""

    _own = frozenset({"_real", "_loop", "block"})

    def __init__(self, real: Any, loop: Loop) -> None:
        self._real = real
        self._loop = loop
        #: A flag of the stand only: what it stands for never blocks.
        self.block = False

    @property
    def __class__(self) -> Any:
        return type(self._real)

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        raise TypeError(f"it stays what it is, no {kind}")

    def __getattr__(self, name: str) -> Any:
        return self._read(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._own:
            object.__setattr__(self, name, value)
        else:
            setattr(self._real, name, value)

    def _read(self, name: str) -> Any:
        value = self._loop.call(lambda: getattr(self._real, name), waits=False)
        if not inspect.ismethod(value):
            return value
        return lambda *args, **options: self._call(value, args, options)

    def _call(self, method: Any, args: Any, options: Any) -> Any:
        waits = options.pop("block", None)
        waits = self.block if waits is None else waits
        waits = waits and not method.__name__.endswith("_async")
        args = [_bare(value) for value in args]
        found = self._loop.call(
            lambda: method(*args, **options), waits=waits and method.__name__ != "get_result"
        )
        if waits and method.__name__ == "get_result":
            found.wait()
        return None if waits and method.__name__ == "scatter" else found

    def __repr__(self) -> str:
        return repr(self._real)

    def __len__(self) -> int:
        return len(self._real)

    def __bool__(self) -> bool:
        return bool(self._real)

    def __eq__(self, other: object) -> bool:
        return bool(self._real == _bare(other))

    def __hash__(self) -> int:
        return hash(self._real)


class AwaitedView(Stand):
    """A view; ``…_sync`` is ``await …_async``."""

    def __getattr__(self, name: str) -> Any:
        if not name.endswith("_sync"):
            return self._read(name)
        method = getattr(self._real, name.replace("_sync", "_async"))
        return lambda *args, **options: self._loop.call(
            lambda: method(*map(_bare, args), **options), waits=True
        )

    def get(self, names: Any) -> Any:
        """Fetch values and wait for them."""
        return self._loop.call(lambda: self._real.get(names), waits=True)

    __getitem__ = get

    def __setitem__(self, name: str, value: Any) -> None:
        self._loop.call(lambda: self._real.push({name: value}), waits=self.block)


class AwaitedResult(Stand):
    """A result; `get` is ``await``."""

    def get(self, timeout: float | None = None, **options: Any) -> Any:
        """Wait in the loop, then read."""
        self._wait(timeout)
        return self._loop.call(lambda: self._real.get(0, **options), waits=False)

    result = get

    @property
    def r(self) -> Any:
        """The value."""
        return self.get()

    def wait(self, timeout: float | None = -1) -> bool:
        """Whether it is done in time."""
        self._wait(timeout)
        return bool(self._real.done())

    def _wait(self, timeout: float | None) -> None:
        limit = LIMIT_S if timeout is None or timeout < 0 else timeout

        async def wait() -> None:
            await asyncio.wait({asyncio.ensure_future(_settled(self._real))}, timeout=limit)

        self._loop.call(wait, waits=False)

    def __getitem__(self, key: Any) -> Any:
        return self._loop.call(lambda: self._real[key], waits=False)

    def __iter__(self) -> Iterator[Any]:
        source = self._loop.call(lambda: aiter(self._real), waits=False)

        async def step() -> list[Any]:
            try:
                return [await anext(source)]
            except StopAsyncIteration:
                return []

        while found := self._loop.call(step, waits=False):
            yield self._loop.wrap(found[0])


async def _settled(result: AsyncResult) -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    result.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    await done.wait()


class Awaited(Stand):
    """The client: ``with Awaited(cluster) as rc``."""

    def __init__(self, cluster: ipyviews.Cluster) -> None:
        super().__init__(None, Loop())
        self._real = self._loop.call(
            lambda: AsyncClient(cluster.cluster_file, cluster=cluster), waits=False
        )
        self._loop.stands[id(self._real)] = self

    def __enter__(self) -> Self:
        self._loop.call(self._real.connect, waits=False)
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call(self._real.aclose, waits=False)
        self._loop.close()

    def __getitem__(self, key: Any) -> Any:
        return self._loop.call(lambda: self._real[key], waits=False)

    def __iter__(self) -> Iterator[Any]:
        return (self._loop.wrap(view) for view in self._real)


def _bare(value: Any) -> Any:
    if type(value) in (list, tuple, set):
        return type(value)(_bare(one) for one in value)
    return value.__dict__["_real"] if Stand in type(value).__mro__ else value
