"""A notebook kernel run by nbclient, and everything it tells its front ends."""

from __future__ import annotations

import asyncio
import itertools
import json

import nbformat
from nbclient import NotebookClient

from tests.magics.stored import Shown

#: Longest wait for a message [s].
PATIENCE_S = 60.0


class Recorder:
    """Runs cells one after the other and notes the messages of iopub, all of them.

    Parameters
    ----------
    is_watched
        Whether cells come as from a front end with a person before it.
    react
        Called with each message.
    """

    def __init__(self, *, is_watched=False, react=lambda message: None):
        #: (message, number of the cell that ran, from 0)
        self.messages = []
        #: Ids of the requests, by cell.
        self.cells = []
        self._is_watched = is_watched
        self._react = react
        self._notebook = nbformat.v4.new_notebook()
        self._client = NotebookClient(
            self._notebook, timeout=PATIENCE_S, kernel_name="python3", allow_errors=True
        )

    async def run(self, groups):
        """Run groups of cells in one kernel; return what was shown, by group and cell."""
        sources = list(itertools.chain.from_iterable(groups))
        self._notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        async with self._client.async_setup_kernel():
            self._client.kc.allow_stdin = self._is_watched
            listener = self._client.km.client()
            listener.start_channels(shell=False, stdin=False, hb=False, control=False)
            try:
                await self._subscribed(listener)
                for number, cell in enumerate(self._notebook.cells):
                    await asyncio.gather(
                        self._client.async_execute_cell(cell, number),
                        self._read_until_idle(listener, number),
                    )
            finally:
                listener.stop_channels()
        numbers = iter(range(len(sources)))
        return [[self.shown(next(numbers)) for _ in group] for group in groups]

    async def _subscribed(self, listener):
        """Wait until messages arrive: what is published before is lost."""
        while True:
            self._client.kc.kernel_info()
            try:
                await listener.get_iopub_msg(timeout=1)
            except Exception:  # noqa: BLE001 - queue.Empty, of either package
                continue
            break

    async def _read_until_idle(self, listener, number):
        begun = False
        while True:
            message = await listener.get_iopub_msg(timeout=PATIENCE_S)
            kind, parent = message["msg_type"], message["parent_header"].get("msg_id")
            if kind == "execute_input":
                self.cells.append(parent)
                begun = True
            self.messages.append((message, number))
            self._react(message)
            is_last = begun and kind == "status" and parent == self.cells[-1]
            if is_last and message["content"]["execution_state"] == "idle":
                return

    def shown(self, number):
        """Return what was shown while a cell ran, with the cell it was shown under."""
        found = []
        for message, at in self.messages:
            kind = message["msg_type"]
            if at != number or kind in {"status", "execute_input"}:
                continue
            parent = message["parent_header"].get("msg_id")
            where = self.cells.index(parent) if parent in self.cells else None
            under = "" if where == number else f"under cell {_back(where, number)}: "
            found += [one._replace(kind=under + one.kind) for one in _shown(message)]
        return found


def _back(where, number):
    return "unknown" if where is None else f"{number - where} before"


def _shown(message):
    kind, content = message["msg_type"], message["content"]
    if kind == "stream":
        return [Shown(content["name"], content["text"])]
    if kind == "error":
        return [Shown("error", "\n".join([f"{content['ename']}", *content["traceback"]]))]
    if "data" not in content:
        return [Shown(kind, json.dumps(content, sort_keys=True))]
    shown_id = content.get("transient", {}).get("display_id")
    if shown_id is not None:
        kind += f" id={shown_id}"
    return [Shown(kind, f"{mime}: {_text(data)}") for mime, data in sorted(content["data"].items())]


def _text(data):
    return data if isinstance(data, str) else json.dumps(data, sort_keys=True)


def record(groups, **options):
    """Run groups of cells in a new kernel; return the recorder and what was shown."""
    recorder = Recorder(**options)
    return recorder, asyncio.run(recorder.run(groups))
