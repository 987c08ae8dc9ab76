"""Stored texts: what is shown, without what differs from run to run."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "texts"

#: Set to write the texts instead of comparing them.
WRITE = "IPYVIEWS_WRITE_TEXTS"

_VOLATILE = [
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"0x[0-9a-f]+"), "0x"),
    (re.compile(r"Out\[(\d+):\d+\]"), r"Out[\1:n]"),
    (re.compile(r"(In|Out)\[\d+\]"), r"\1[n]"),
    (re.compile(r"\b(pending|finished)\b"), "pending-or-finished"),
    (re.compile(r"\d of \d, [\d.e-]+ s(; .*)?(?=</div>)"), "m of n, t s"),
    # IPython 8 shows a traceback with another first line, and ends it with another blank.
    (re.compile(r"-{20,}"), "---"),
    (
        re.compile(r"^(\w+Error) +Traceback \(most recent call last\)$", re.MULTILINE),
        r"\1 Traceback",
    ),
]
_LABEL = re.compile(r"(?P<kind>\[(stdout|stderr|output):|Out\[)(?P<engine>\d)")
_DISPLAY = re.compile(r"(?<=display_data id=)\S+")
#: What is raised comes after everything.
_RAISED = re.compile(r"^error |\| \[[\d,-]+:\w+\]:")


class Shown(NamedTuple):
    """One thing shown: text of a stream, or a message about a display."""

    #: What it is, ``stdout`` or ``display_data id=1``.
    kind: str
    text: str

    def lines(self) -> list[str]:
        # A blank at the end of a line is made visible: editors take them away.
        text = self.text.replace("\r", "␍")
        found = [re.sub(r" $", "␠", line) for line in text.split("\n")]
        if found[-1] == "":
            found.pop()
        else:
            found[-1] += "⌿" if self.kind.endswith(("stdout", "stderr")) else ""
        return [f"{self.kind} | {line}" for line in found]


def clean(text):
    """Take out what differs from run to run."""
    for pattern, replacement in _VOLATILE:
        text = pattern.sub(replacement, text)
    return text


def anywhere(text):
    """Take out engine numbers."""
    return _LABEL.sub(r"\g<kind>N", text)


def merged(shown):
    """Put pieces of a stream together that follow each other: where it is cut is chance."""
    together = []
    for kind, group in itertools.groupby(shown, key=lambda one: one.kind):
        pieces = list(group)
        if kind.endswith(("stdout", "stderr")):
            pieces = [Shown(kind, "".join(piece.text for piece in pieces))]
        together += pieces
    return together


def by_engine(lines):
    """Order labelled blocks of lines by engine: which comes first live is chance."""
    blocks = [[]]
    for line in lines:
        if _LABEL.search(line) or _RAISED.search(line):
            blocks.append([])
        blocks[-1].append(line)
    return list(itertools.chain.from_iterable(sorted(blocks, key=_engine_of)))


def _engine_of(block):
    if not block:
        return -1
    if _RAISED.search(block[0]):
        return 99
    label = _LABEL.search(block[0])
    return int(label["engine"]) if label else -1


def as_text(case, cells):
    """Return a case as it is stored: each cell, and what was shown while it ran."""
    lines = []
    for source, shown in zip(case.cells, cells, strict=True):
        lines += [f"> {line}" for line in source.splitlines()]
        found = [
            line for one in merged(shown) for line in one._replace(text=clean(one.text)).lines()
        ]
        found = by_engine(found) if case.live else found
        lines += [anywhere(line) for line in found] if case.anywhere else found
    names = itertools.count(1)
    known = defaultdict(lambda: str(next(names)))
    return "".join(f"{_DISPLAY.sub(lambda found: known[found[0]], line)}\n" for line in lines)


def compare(name, text):
    """Compare with the stored text of that name, or write it."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get(WRITE):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"there is no stored text; {WRITE}=1 writes it"
    expected = path.read_text(encoding="utf-8")
    difference = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), "stored", "shown", lineterm=""
    )
    assert text == expected, "\n".join(difference)
