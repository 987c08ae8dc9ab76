"""What clients are told of records: their form in answers, and the time that making them takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ipyviews.store.query import BUFFERS
from ipyviews.store.records import read

if TYPE_CHECKING:
    from ipyviews.protocol.wire import Frame
    from ipyviews.store.records import Record

    Fields = dict[str, Any]

#: Longest time between two looks at the sockets [s].
SLICE_S = 0.002


class Pause:
    """Lets a long search not keep others waiting."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due = loop.time() + SLICE_S

    async def when_due(self) -> None:
        """Let the loop go on if this has taken long."""
        if self._loop.time() > self._due:
            await asyncio.sleep(0)
            self._due = self._loop.time() + SLICE_S


def result_of(record: Record) -> Fields:
    """Make what a client is told of a task that is final; its buffers as they are."""
    end, ours = record.end, record.origin.ours
    return {
        "status": "final",
        "kind": record.origin.kind,
        "content": read(end.content) if end else {},
        "ours": end.ours if end else {},
        "submitted": record.origin.submitted,
        "label": ours.get("label"),
        "name": ours.get("name"),
        "output": record.output.read() if record.output else [],
        "buffers": list(record.buffers or ()),
    }


def stored_result(record: Fields) -> Fields:
    """Make the same out of a record of the file."""
    ours = record["metadata"]["ipyviews"]
    output: list[tuple[str, Fields]] = [
        ("stream", {"name": name, "text": record[name]})
        for name in ("stdout", "stderr")
        if record[name]
    ]
    output += [("display_data", shown) for shown in record["outputs"]]
    if record["execute_input"]:
        output.append(("execute_input", {"code": record["execute_input"]}))
    output += [
        (name, record[name]) for name in ("execute_result", "error") if record[name] is not None
    ]
    return {
        "status": "final",
        "kind": str(record["result_header"]["msg_type"]).removesuffix("_reply"),
        "content": record["result_content"],
        "ours": record["result_metadata"]["ipyviews"],
        "submitted": record["submitted"].timestamp(),
        "label": record["label"],
        "name": ours.get("name"),
        "output": output,
        "buffers": record["result_buffers"],
    }


def packable(record: Fields, buffers: list[Frame]) -> Fields:
    """Move bytes out of a record, which goes as JSON; their number stays."""
    for key in sorted(BUFFERS & record.keys()):
        buffers += record[key]
        record[key] = len(record[key])
    return record
