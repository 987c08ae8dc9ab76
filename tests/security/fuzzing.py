"""Messages that nobody honest sends, made from those that everybody sends.

`Mill` makes them by one generator of chance, so that Hypothesis, a seed and a fuzzer can drive it.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from ipyviews.engine import frames as codec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

#: What stands where something else is expected. The engine 2 is never named: it stays honest.
JUNK: list[Any] = [
    *(None, True, False, -1, 0, 1, 7, 0.5, -0.0, 1e308),
    *(2**31, 2**53, 2**63, -(2**63), 2**64, 10**40),
    *("", "x", "0", "\0", "\ud800", "/", "a/b/c", ".", "x" * 300, "e0.1", "../../etc", "\u202e"),
    *([], [None], [[]], [[1, 1]], [[-1, 0]], [[0, 2**40]], [0, 1], ["0"]),
    *({}, {"": {}}, {"a": [1]}),
]

#: Content by type; what a client, then what an engine sends.
CONTROL: dict[str, dict[str, Any]] = {
    "hello_request": {"version": "0.1.0", "client": "c", "python": "cpython-3.11", "pid": 1},
    "ping_request": {"attempts": {"c-1.0/0.1/1": 0}},
    "released_request": {"owner": "e0.1", "segments": [["ipv-a-b-1", 1]]},
    "received_request": {"bytes": 5},
    "cancel_request": {"tasks": ["c-1.0"]},
    "interrupt_request": {"engines": [0]},
    "status_request": {},
    "start_request": {"n": 0, "kernel": "x"},
    "signal_request": {"engines": [0], "signal": 0},
    "restart_request": {"engines": [9], "now": True},
    "shutdown_request": {"engines": [9], "cluster": False},
    "complete_request": {"engine": 0, "code": "a", "cursor_pos": 1},
    "inspect_request": {"engine": 0, "code": "a", "cursor_pos": 1, "detail_level": 0},
    "history_request": {},
    "db_request": {
        "query": {"msg_id": {"$in": ["a"]}, "started": {"$lt": "x"}},
        "keys": ["msg_id"],
    },
    "result_request": {"tasks": ["c-1.0"], "status_only": False, "hold": False},
    "purge_request": {"tasks": ["c-1.0"], "engines": [0]},
    "resubmit_request": {"requests": {"c-2": "c-1.0"}},
    "queue_request": {"engines": [0], "verbose": True},
    "auto_restart_request": {"limit": [3, 60.0]},
    "recall_request": {"attempts": ["c-1.0/0.1/1"]},
    "replies_received": {"numbers": [1], "cells": ["c-1.0/0.1/1"]},
    "resume_request": {},
    "bye_request": {},
    "nonsense": {},
}
SHELL: dict[str, dict[str, Any]] = {
    "apply_request": {"index": [[1, 0], [1, 1]]},
    "execute_request": {"code": "print 1", "silent": False, "allow_stdin": False},
    "missing_request": {"tasks": ["c-1.0"], "life": "life"},
    "waiting_request": {"attempt": "c-1.0/0.1/1", "tasks": ["c-1.0"]},
}
OURS = {
    "any": None, "targets": [0, 1], "label": "x", "retries": 0, "reruns": 1, "timeout": 5.0,
    "again": [0], "setup": True, "name": "f", "python": "cpython-3.11", "shared": "a/b",
    "after": {"tasks": ["c-1.0"], "all": True, "success": True, "failure": False},
    "follow": {"tasks": ["c-1.0"], "all": True, "success": True, "failure": False},
}  # fmt: skip
ENGINE: dict[str, dict[str, Any]] = {
    "apply_reply": {
        "status": "ok",
        "started": 1.0,
        "ended": 2.0,
        "output": False,
        "held": [["a", 1]],
    },
    "execute_reply": {"status": "error", "ename": "E", "evalue": "e", "traceback": ["x"]},
    "bundle_reply": {
        "replies": [["c-1.0/0.1/1", "apply_reply", {"status": "ok"}, {}, 1]],
        "sizes": [1, -1, -1],
    },
    "calls_returned": {"attempts": ["c-1.0/0.1/1"]},
    "output_again": {
        "attempt": "c-1.0/0.1/1",
        "messages": [["stream", {"name": "stdout", "text": "x"}, {}, "2026", 1]],
        "whole": True,
    },
    "segments_released": {"client": "c", "segments": [["ipv-a-b-1", 1]]},
    "ping_reply": {"status": "ok", "holds": []},
    "complete_reply": {"status": "ok", "matches": []},
}
OUTPUT: dict[str, dict[str, Any]] = {
    "stream": {"name": "stdout", "text": "x"},
    "status": {"execution_state": "idle"},
    "error": {"ename": "E", "evalue": "e", "traceback": []},
    "execute_input": {"code": "x", "execution_count": 1},
    "display_data": {"data": {}, "metadata": {}, "transient": {}},
    "iopub_welcome": {},
    "data_message": {"keys": ["a"]},
}


class Mill:
    """Makes them.

    Parameters
    ----------
    chance
        What decides.
    """

    def __init__(self, chance: Random) -> None:
        self.chance = chance

    def client(self, channel: str, session: str, life: str, key: bytes, seq: int) -> list[bytes]:
        """Make what a client might send on a channel."""
        msg_type = self.chance.choice([*(SHELL if channel == "shell" else CONTROL)])
        content = {**SHELL, **CONTROL}[msg_type]
        metadata = {"ipyviews": self._some(OURS)} if channel == "shell" else {}
        header = self._header(msg_type, f"{session}-{seq}", session, life, seq)
        buffers = [b"echo", b"ab", b"buffer"][: self.chance.randint(0, 3)]
        return self._finish(key, (header, {}, metadata, content), buffers)

    def engine(  # noqa: PLR0917
        self, channel: str, name: str, life: str, key: bytes, seq: int, parents: Sequence[str]
    ) -> list[bytes]:
        """Make what an engine might send; `parents` are attempts it may speak of."""
        of_kind = OUTPUT if channel == "iopub" else ENGINE
        msg_type = self.chance.choice([*of_kind])
        content = copy.deepcopy(of_kind[msg_type])
        parent = self.chance.choice([*parents, "c-1.0/0.1/1", ""])
        if msg_type == "calls_returned":
            content["attempts"] = [parent]
        if msg_type == "bundle_reply":
            content["replies"] = [[parent, *content["replies"][0][1:]]] * self.chance.randint(0, 3)
        header = self._header(msg_type, f"m{seq}", name, life, seq)
        return self._finish(key, (header, {"msg_id": parent}, {}, content), [b"b"] * 3)

    def rubbish(self) -> list[bytes]:
        """Make frames that are hardly a message."""
        chance = self.chance
        some = [codec.DELIMITER, b"", b"{}", b"[]", b"\xff", b"{" * 50, b"0" * 64, b'{"seq":1}']
        frames = [chance.choice(some) for _ in range(chance.randint(0, 9))]
        if chance.random() < 0.5:
            frames.insert(chance.randint(0, len(frames)), chance.randbytes(chance.randint(0, 90)))
        return frames

    def _header(self, msg_type: str, msg_id: str, session: str, to: str, seq: int) -> dict:
        header = {"msg_id": msg_id, "msg_type": msg_type, "session": session, "seq": seq, "to": to}
        return {**header, "username": "u", "date": "2026-01-01T00:00:00Z", "version": "5.4"}

    def _some(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if self.chance.random() < 0.3}

    def _finish(self, key: bytes, parts: Sequence[Any], buffers: list[bytes]) -> list[bytes]:
        parts = copy.deepcopy(list(parts))
        for _ in range(self.chance.choice([0, 1, 1, 2, 3])):
            place = self.chance.choice([0, 1, 2, 3, 3, 3])
            parts[place] = self._spoil(parts[place])
        packed = [self._pack(part) for part in parts]
        frames = [codec.DELIMITER, codec.sign(key, packed, buffers), *packed, *buffers]
        return self._damage(frames) if self.chance.random() < 0.1 else frames

    def _spoil(self, value: Any) -> Any:
        """Put junk somewhere into a value, leave something out, or bring something in."""
        chance = self.chance
        if isinstance(value, dict | list) and value and chance.random() < 0.85:
            place = chance.choice([*value] if isinstance(value, dict) else range(len(value)))
            what = chance.random()
            if what < 0.2:
                del value[place]
            elif what < 0.5:
                value[place] = self._spoil(value[place])
            else:
                value[place] = self._junk()
            return value
        if isinstance(value, dict):
            name = chance.choice(["x", "engines", "tasks", "status", "ipyviews"])
            value[name] = self._junk()
            return value
        return self._junk()

    def _junk(self) -> Any:
        return copy.deepcopy(self.chance.choice(JUNK))

    def _pack(self, part: Any) -> bytes:
        chance = self.chance.random()
        if chance < 0.01:
            return self.chance.choice([b"", b"{", b"null", b"\xff\xfe{}", b"{}x", b"NaN"])
        if chance < 0.02:
            depth = self.chance.choice([90, 110, 300, 2000])
            return b'{"a":' * depth + b"1" + b"}" * depth
        return json.dumps(part).encode()

    def _damage(self, frames: list[bytes]) -> list[bytes]:
        place = self.chance.randrange(len(frames))
        match self.chance.randint(0, 3):
            case 0:
                return frames[:place] + frames[place + 1 :]
            case 1:
                return [*frames[:place], frames[place], *frames[place:]]
            case 2:
                return [*frames[:place], self.chance.randbytes(9), *frames[place + 1 :]]
            case _:
                return frames[:place]
