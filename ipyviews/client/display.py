"""Where output is shown, and showing it afterwards, grouped; as it comes: `ipyviews.client.live`.

Errors are not shown here: they are raised, folded, by the result.
"""

from __future__ import annotations

import shutil
import sys
import threading
import uuid
from functools import partial
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

from ipyviews.client import alike
from ipyviews.client.activation import shell
from ipyviews.client.flood import shorten
from ipyviews.folding import plain, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TextIO

    from ipyviews.client.outputs import Output
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.wire import Frame

    #: An engine and what it wrote.
    Written = tuple[int | None, Output]

T = TypeVar("T")

GROUPINGS = ("type", "engine", "order")


class Sink(Protocol):
    """Where shown things go."""

    #: Whether what was shown can be replaced, and too much of it is a burden.
    is_page: bool

    def write(self, stream: str, text: str) -> None:
        """Write text to ``stdout`` or ``stderr``."""

    def publish(
        self, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame] = ()
    ) -> None:
        """Show, update or clear displays: an iopub message."""

    def paint(self, name: str, text: str) -> None:
        """Show a text, instead of the one of that name before."""


class Bottom:
    """The last lines of the screen, which all cells that are being shown share."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        #: What each has there; a cell that nobody shows any more leaves nothing behind.
        self.texts: WeakKeyDictionary[Terminal, str] = WeakKeyDictionary()
        self._height = 0
        self._screen: TextIO | None = None
        self._line_is_open = False

    def erase(self) -> bool:
        """Take the lines away; False if there are none or they are not the last any more."""
        height, self._height = self._height, 0
        if not height or self._screen is None or self._screen is not sys.stdout:
            return False
        # The cursor goes up, and from there everything is erased.
        self._screen.write(f"\x1b[{height}F\x1b[J")
        return True

    def wrote(self, text: str) -> None:
        """Take note of text that was written above; after a whole line, draw."""
        self._screen, self._line_is_open = sys.stdout, not text.endswith("\n")
        if not self._line_is_open:
            self.draw()

    def draw(self) -> None:
        """Write the lines again."""
        there = [text for one, text in self.texts.items() if one.screen is sys.stdout]
        if there:
            is_open = self._line_is_open and self._screen is sys.stdout
            lines = "".join(f"{text}\n" for text in there)
            sys.stdout.write(("\n" if is_open else "") + lines)
            self._height, self._screen = lines.count("\n"), sys.stdout
            self._line_is_open = False
            sys.stdout.flush()


_BOTTOM = Bottom()


class Terminal:
    """Plain text; what changes is kept in the last lines of the screen."""

    is_page = False

    def __init__(self) -> None:
        # While IPython waits for input it puts another one in its place.
        self.screen = sys.stdout

    def write(self, stream: str, text: str) -> None:
        """Write to this process's own stream."""
        with _BOTTOM.lock:
            target = sys.stderr if stream == "stderr" else sys.stdout
            if _BOTTOM.erase():
                sys.stdout.flush()
            target.write(text)
            target.flush()
            _BOTTOM.wrote(text)

    def paint(self, name: str, text: str) -> None:
        """Replace its part of the last lines, on a real screen only."""
        del name
        is_seen = self.screen is sys.stdout and self.screen.isatty()
        width = shutil.get_terminal_size().columns - 1
        with _BOTTOM.lock:
            _BOTTOM.erase()
            if text and is_seen:
                _BOTTOM.texts[self] = "\n".join(plain(line)[:width] for line in text.split("\n"))
            else:
                _BOTTOM.texts.pop(self, None)
            _BOTTOM.draw()
            sys.stdout.flush()

    def publish(
        self, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame] = ()
    ) -> None:
        """Write the plain text of a display; a terminal takes nothing back."""
        del buffers
        text = content.get("data", {}).get("text/plain")
        if msg_type != "clear_output" and text is not None:
            self.write("stdout", f"{text}\n")


class Notebook:
    """The cell that runs now, for as long as this object lives and from any thread.

    Parameters
    ----------
    kernel
        The ipykernel this process is.
    """

    is_page = True

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        #: Ids of what was painted, by name.
        self._painted: dict[str, str] = {}
        # The cell is remembered here: when output comes, another one may be running.
        self._parent = kernel.get_parent("shell")

    def write(self, stream: str, text: str) -> None:
        """Add to the cell's output."""
        self.publish("stream", {"name": stream, "text": text})

    def publish(
        self, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame] = ()
    ) -> None:
        """Send an iopub message under the cell."""
        if msg_type == "clear_output":
            self._painted.clear()
        kernel = self._kernel
        send = partial(
            kernel.session.send,
            kernel.iopub_socket,
            msg_type,
            content,
            parent=self._parent,
            buffers=list(buffers) or None,
        )
        # The queue of that thread keeps the order, also with the cell's own end.
        kernel.iopub_thread.schedule(send)

    def paint(self, name: str, text: str) -> None:
        """Show a display and update it."""
        kind = "update_display_data" if name in self._painted else "display_data"
        shown = self._painted.setdefault(name, f"ipyviews-{uuid.uuid4().hex}")
        content = {"data": {"text/plain": text}, "metadata": {}, "transient": {"display_id": shown}}
        self.publish(kind, content)


def relay(
    msg_type: str, content: dict[str, Any], metadata: dict[str, Any], buffers: Sequence[Frame]
) -> None:
    """Pass a comm message of an engine on to the notebook this process is, if it is one."""
    kernel = getattr(shell(), "kernel", None)
    if kernel is None or getattr(kernel, "iopub_thread", None) is None:
        return
    send = partial(
        kernel.session.send,
        kernel.iopub_socket,
        msg_type,
        content,
        metadata={name: value for name, value in metadata.items() if name != "ipyviews"},
        buffers=list(buffers) or None,
    )
    kernel.iopub_thread.schedule(send)


def current_sink() -> Sink:
    """Return where output of the running cell goes; the terminal when there is no notebook."""
    kernel = getattr(shell(), "kernel", None)
    return Terminal() if getattr(kernel, "iopub_thread", None) is None else Notebook(kernel)


def label(kind: str, where: object) -> str:
    """Return the line above what an engine shows, with ipyparallel's blank if that is text."""
    return f"[{kind}:{where}]{'' if kind == 'output' else ' '}\n"


def show(
    tasks: Sequence[Task],
    groupby: str,
    *,
    labelled: bool,
    result_only: bool = False,
    fold: bool = False,
) -> None:
    """Show what finished tasks wrote; see `AsyncResult.display_outputs`."""
    if groupby not in GROUPINGS:
        raise ValueError(f"groupby must be one of 'type', 'engine', 'order', not {groupby!r}")
    written = [(task.engine, task.output) for task in tasks if task.output is not None]
    shown = Finished(current_sink(), written, labelled=labelled, fold=fold)
    if result_only:
        shown.results()
    elif groupby == "engine":
        shown.by_engine()
    else:
        shown.text()
        shown.displays(collated=groupby == "order")
        shown.results()


class Finished:
    """Shows what has been written.

    Parameters
    ----------
    sink
        Where to.
    written
        Engines and their output.
    labelled
        Whether the engine is named above what it wrote.
    fold
        Whether equal output of several engines is shown once.
    """

    def __init__(self, sink: Sink, written: list[Written], *, labelled: bool, fold: bool) -> None:
        self._sink = sink
        self._written = written
        self._labelled = labelled
        self._fold = fold and len(written) > 1

    def by_engine(self) -> None:
        """Show text, displays and value of each engine."""
        for where, (one, *_) in self._alike(_everything):
            of_one = Finished(self._sink, [one], labelled=self._labelled, fold=False)
            of_one.text(where)
            if self._labelled and (one[1].outputs or one[1].execute_result):
                self._sink.write("stdout", label("output", where))
            for content in one[1].outputs:
                self._sink.publish("display_data", own_display(one[0], content))
            of_one.results(where)

    def text(self, where: str | None = None) -> None:
        """Show what was printed; `where` names the engines, if not those it is of."""
        self._stream("stdout", lambda one: one[1].stdout, where)
        self._stream("stderr", lambda one: one[1].stderr, where)

    def displays(self, *, collated: bool) -> None:
        """Show displays engine by engine, or collated: the first of each, then the second, …."""
        last = None
        for where, engine, content in self._collated() if collated else self._in_turn():
            if self._labelled and where != last:
                self._sink.write("stdout", label("output", where))
            last = where
            self._sink.publish("display_data", own_display(engine, content))

    def results(self, where: str | None = None) -> None:
        """Show values."""
        for engines, (one, *more) in self._alike(lambda one: _looks(one[1].execute_result)):
            if (content := one[1].execute_result) is not None:
                content = {**content, "execution_count": None} if more else content
                for shown in result_displays(where or engines, content):
                    self._sink.publish("display_data", shown)

    def _stream(self, name: str, read: Callable[[Written], str], where: str | None) -> None:
        for engines, (one, *_) in self._alike(read):
            if text := read(one):
                if self._sink.is_page:
                    text = shorten(text, len(self._written), name)
                end = "" if text.endswith("\n") else "\n"
                line = label(name, where or engines) if self._labelled else ""
                self._sink.write(name, f"{line}{text}{end}")

    def _in_turn(self) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
        for where, (one, *_) in self._alike(lambda one: str(list(map(_looks, one[1].outputs)))):
            for content in one[1].outputs:
                yield where, one[0], content

    def _collated(self) -> Iterator[tuple[str, int | None, dict[str, Any]]]:
        columns = [[(engine, one) for one in output.outputs] for engine, output in self._written]
        for row in zip_longest(*columns):
            there = [entry for entry in row if entry is not None]
            for members in self._groups(there, lambda entry: _looks(entry[1])):
                yield alike.name(engine for engine, _ in members), *members[0]

    def _alike(self, key: Callable[[Written], str]) -> Iterator[tuple[str, list[Written]]]:
        for members in self._groups(self._written, key):
            yield alike.name(engine for engine, _ in members), members

    def _groups(self, things: list[T], key: Callable[[T], str]) -> list[list[T]]:
        return alike.group(things, key) if self._fold else [[one] for one in things]


def summary(name: str, state: str, how_far: str, engines: Mapping[str, Sequence[Any]]) -> str:
    """Return HTML that tells in one line how a result stands, and which engines to look at."""
    told = [f"<b>{escape(name)}</b>: {state}, {how_far}"]
    for what, where in engines.items():
        known = sorted({engine for engine in where if engine is not None})
        if where:
            told.append(f"{len(where)} {what}" + (f" on engines {ranges(known)}" if known else ""))
    return f"<div>{'; '.join(told)}</div>"


def own_display(engine: int | None, content: dict[str, Any]) -> dict[str, Any]:
    """Name a display for the page: engines may use the same id for different things."""
    transient = dict(content.get("transient") or {})
    if "display_id" in transient:
        transient["display_id"] = f"engine-{engine}-{transient['display_id']}"
    return {**content, "transient": transient}


def result_displays(where: object, content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the displays that show a value with its label."""
    data = dict(content.get("data") or {})
    metadata = content.get("metadata") or {}
    count = content.get("execution_count")
    told = f"Out[{where}]:" if count is None else f"Out[{where}:{count}]:"
    text = str(data.get("text/plain", ""))
    plain_text = f"{told}\n{text}" if "\n" in text else f"{told} {text}"
    if set(data) <= {"text/plain"}:
        return [{"data": {"text/plain": plain_text}, "metadata": metadata}]
    # A rich value hides its plain text, so the label comes by itself.
    return [
        {"data": {"text/plain": told}, "metadata": {}},
        {"data": {**data, "text/plain": text}, "metadata": metadata},
    ]


def _looks(content: dict[str, Any] | None) -> str:
    """Return what is equal for two displays or values that look alike."""
    return repr(content and (content.get("data"), content.get("metadata")))


def _everything(one: Written) -> str:
    output = one[1]
    displays = [_looks(content) for content in output.outputs]
    count = (output.execute_result or {}).get("execution_count")
    return repr((output.stdout, output.stderr, displays, count, _looks(output.execute_result)))
