"""Showing output: live, as it comes, and afterwards, grouped.

In a notebook live output goes under the cell that asked for it, also when later cells have run
meanwhile; on a terminal it is plain text. Each change of source gets a label::

    [stdout:0]
    a line of engine 0
    [output:1]
    a display of engine 1
    Out[1:3]: 42

Errors are not shown here: they are raised, folded, by the result.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

from ipyviews.client.activation import shell
from ipyviews.folding import ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ipyviews.client.outputs import Output
    from ipyviews.client.tasks import Task
    from ipyviews.protocol.wire import Frame

GROUPINGS = ("type", "engine", "order")


class Sink(Protocol):
    """Where shown things go."""

    def write(self, stream: str, text: str) -> None:
        """Write text to ``stdout`` or ``stderr``."""

    def publish(
        self, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame] = ()
    ) -> None:
        """Show, update or clear displays: an iopub message."""


class Terminal:
    """Plain text."""

    def write(self, stream: str, text: str) -> None:
        """Write to this process's own stream."""
        target = sys.stderr if stream == "stderr" else sys.stdout
        target.write(text)
        target.flush()

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

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        # The cell is remembered here: when output comes, another one may be running.
        self._parent = kernel.get_parent("shell")

    def write(self, stream: str, text: str) -> None:
        """Add to the cell's output."""
        self.publish("stream", {"name": stream, "text": text})

    def publish(
        self, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame] = ()
    ) -> None:
        """Send an iopub message under the cell."""
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


class LiveDisplay:
    """Shows messages of output as they come. A listener of `Ledger.listen`.

    Parameters
    ----------
    sink
        Where to; the running cell or the terminal if None.
    labelled
        Whether each change of source gets a label.
    clears
        Whether an engine may clear what is shown; of use when there is one engine only.
    """

    def __init__(
        self, sink: Sink | None = None, *, labelled: bool = True, clears: bool = False
    ) -> None:
        self._sink = sink or current_sink()
        self._labelled = labelled
        self._clears = clears
        self._source: tuple[str, int | None] | None = None
        self._line_is_open = False

    def __call__(  # noqa: PLR0917 - what a message has
        self,
        task: Task,
        msg_type: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        buffers: Sequence[Frame],
        date: str | None,
    ) -> None:
        """Show one message."""
        del metadata, date
        if msg_type == "stream":
            self._text(task.engine, str(content.get("name")), str(content.get("text", "")))
        elif msg_type in ("display_data", "update_display_data"):
            self._display(task.engine, msg_type, content, buffers)
        elif msg_type == "execute_result":
            self._result(task.engine, content)
        elif msg_type == "clear_output" and self._clears:
            self._source = None
            self._sink.publish("clear_output", content)
        elif msg_type == "output_folded":
            self._folded(task.engine, content)

    def replay(self, task: Task) -> None:
        """Show what a task has written so far."""
        written = task.output
        if written is None:
            return
        for name, text in (("stdout", written.stdout), ("stderr", written.stderr)):
            if text:
                self._text(task.engine, name, text)
        for content in written.outputs:
            self._display(task.engine, "display_data", content, ())
        if written.execute_result is not None:
            self._result(task.engine, written.execute_result)

    def _label(self, kind: str, engine: int | None, stream: str = "stdout") -> None:
        source = (kind, engine)
        if self._source == source and kind != "output":
            return
        gap = "\n" if self._line_is_open else ""
        label = f"[{kind}:{engine}] \n" if self._labelled else ""
        if gap or label:
            self._sink.write(stream, gap + label)
        self._source, self._line_is_open = source, False

    def _text(self, engine: int | None, name: str, text: str) -> None:
        if text:
            self._label(name, engine, name)
            self._sink.write(name, text)
            self._line_is_open = not text.endswith("\n")

    def _display(
        self, engine: int | None, msg_type: str, content: dict[str, Any], buffers: Sequence[Frame]
    ) -> None:
        if msg_type == "display_data":
            self._label("output", engine)
        self._sink.publish(msg_type, _own_display(engine, content), buffers)

    def _result(self, engine: int | None, content: dict[str, Any]) -> None:
        if self._line_is_open:
            self._sink.write("stdout", "\n")
        self._source, self._line_is_open = None, False
        for shown in _result_displays(engine, content):
            self._sink.publish("display_data", shown)

    def _folded(self, engine: int | None, content: dict[str, Any]) -> None:
        text = f"{content.get('messages')} messages ({content.get('bytes')} bytes) were left out.\n"
        self._text(engine, "stderr", text)


def show(tasks: Sequence[Task], groupby: str, *, labelled: bool, result_only: bool = False) -> None:
    """Show what finished tasks wrote; see `AsyncResult.display_outputs`."""
    if groupby not in GROUPINGS:
        raise ValueError(f"groupby must be one of 'type', 'engine', 'order', not {groupby!r}")
    sink = current_sink()
    if result_only:
        _show_results(sink, tasks)
    elif groupby == "engine":
        for task in tasks:
            _show_text(sink, [task], labelled=labelled)
            written = task.output
            if labelled and written and (written.outputs or written.execute_result):
                sink.write("stdout", f"[output:{task.engine}]\n")
            _show_displays(sink, [task], labelled=False)
            _show_results(sink, [task])
    else:
        _show_text(sink, tasks, labelled=labelled)
        _show_displays(sink, tasks, labelled=labelled, collated=groupby == "order")
        _show_results(sink, tasks)


def progress_bar(total: int, name: str, *, widget: bool | None = None, unit: str = "tasks") -> Any:
    """Return a tqdm bar that counts tasks; a widget in a notebook that can show one."""
    if widget is None:
        in_kernel = getattr(shell(), "kernel", None) is not None
        widget = in_kernel and importlib.util.find_spec("ipywidgets") is not None
    if widget:
        from tqdm.notebook import tqdm  # noqa: PLC0415 - costs time, needed for bars only
    else:
        from tqdm import tqdm  # noqa: PLC0415
    return tqdm(total=total, desc=name, unit=unit, file=None if widget else sys.stdout)


def summary(name: str, state: str, how_far: str, engines: Mapping[str, Sequence[Any]]) -> str:
    """Return HTML that tells in one line how a result stands, and which engines to look at."""
    told = [f"<b>{escape(name)}</b>: {state}, {how_far}"]
    for what, where in engines.items():
        known = sorted({engine for engine in where if engine is not None})
        if where:
            told.append(f"{len(where)} {what}" + (f" on engines {ranges(known)}" if known else ""))
    return f"<div>{'; '.join(told)}</div>"


def _written(tasks: Iterable[Task]) -> Iterable[tuple[int | None, Output]]:
    return [(task.engine, task.output) for task in tasks if task.output is not None]


def _show_text(sink: Sink, tasks: Sequence[Task], *, labelled: bool) -> None:
    for name in ("stdout", "stderr"):
        for engine, written in _written(tasks):
            text = written.stdout if name == "stdout" else written.stderr
            if text:
                end = "" if text.endswith("\n") else "\n"
                label = f"[{name}:{engine}] \n" if labelled else ""
                sink.write(name, f"{label}{text}{end}")


def _show_displays(
    sink: Sink, tasks: Sequence[Task], *, labelled: bool, collated: bool = False
) -> None:
    columns = [[(engine, one) for one in written.outputs] for engine, written in _written(tasks)]
    groups = [
        [entry for entry in row if entry is not None]
        for row in (zip_longest(*columns) if collated else columns)
    ]
    for group in groups:
        last: int | None = None
        for place, (engine, content) in enumerate(group):
            if labelled and (place == 0 or engine != last):
                sink.write("stdout", f"[output:{engine}]\n")
            last = engine
            sink.publish("display_data", _own_display(engine, content))


def _show_results(sink: Sink, tasks: Sequence[Task]) -> None:
    for engine, written in _written(tasks):
        if written.execute_result is not None:
            for shown in _result_displays(engine, written.execute_result):
                sink.publish("display_data", shown)


def _own_display(engine: int | None, content: dict[str, Any]) -> dict[str, Any]:
    # Engines may use the same display id for different things.
    transient = dict(content.get("transient") or {})
    if "display_id" in transient:
        transient["display_id"] = f"engine-{engine}-{transient['display_id']}"
    return {**content, "transient": transient}


def _result_displays(engine: int | None, content: dict[str, Any]) -> list[dict[str, Any]]:
    data = dict(content.get("data") or {})
    metadata = content.get("metadata") or {}
    label = f"Out[{engine}:{content.get('execution_count')}]:"
    text = str(data.get("text/plain", ""))
    plain = f"{label}\n{text}" if "\n" in text else f"{label} {text}"
    if set(data) <= {"text/plain"}:
        return [{"data": {"text/plain": plain}, "metadata": metadata}]
    # A rich value hides its plain text, so the label comes by itself.
    return [
        {"data": {"text/plain": label}, "metadata": {}},
        {"data": {**data, "text/plain": text}, "metadata": metadata},
    ]
