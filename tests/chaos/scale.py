"""How much of it: a short form for every change, a long one by ``IPYVIEWS_CHAOS=long``.

python -m pytest tests/chaos tests/security                        # minutes
IPYVIEWS_CHAOS=long python -m pytest tests/chaos tests/security    # hours; atheris is for S3
IPYVIEWS_CHAOS_SEED=4711 python -m pytest tests/chaos/test_r01_random_kills.py
"""

from __future__ import annotations

import os
import random
import re
import secrets
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

IS_LONG = os.environ.get("IPYVIEWS_CHAOS", "") == "long"

#: Where all chance comes from; printed at the end of the run, and with each failure.
SEED = int(os.environ.get("IPYVIEWS_CHAOS_SEED") or secrets.randbelow(2**32))

#: Longest time until anything is answered here [s]: what takes longer counts as hanging.
HANGS_S = 60.0


#: Longest time that a test of the long form may take [s].
LONGEST_S = 4 * 3600

#: Files that are named after a line of the table of faults.
_OF_LINE = re.compile(r"tests/(?:chaos|security)/test_([drs])0?(\d+)_|tests/chaos/test_(\w+)\.py")

#: What was done in this run, by line of the table; printed at its end.
FIGURES: defaultdict[str, Counter[str]] = defaultdict(Counter)


def count(line: str, **numbers: int) -> None:
    """Add to the figures of a line of the table."""
    FIGURES[line].update(numbers)


def most(line: str, **numbers: int) -> None:
    """Keep the largest of each figure."""
    for what, number in numbers.items():
        FIGURES[line][what] = max(FIGURES[line][what], number)


def scale(short: T, long: T) -> T:
    """Choose between the two forms."""
    return long if IS_LONG else short


def chance_of(name: str) -> random.Random:
    """Return the chance of one test: the same for the same seed, whatever runs before it."""
    return random.Random(f"{SEED}:{name}")


def line_of(path: str) -> str:
    """Name the line of the table that a file is about; empty for none."""
    found = _OF_LINE.search(path)
    if found is None:
        return ""
    letter, number, word = found.groups()
    return word or f"{letter.upper()}{number}"


def told(passed: Iterable[tuple[str, float]]) -> Iterator[str]:
    """Yield what to tell of each line: tests that passed, how long they took [s], and figures.

    Parameters
    ----------
    passed
        Path of its file, and duration, of each test.
    """
    tests: defaultdict[str, list[float]] = defaultdict(list)
    for path, seconds in passed:
        tests[line_of(path)].append(seconds)
    tests.pop("", None)
    for line in sorted(tests.keys() | FIGURES, key=lambda name: (name[:1], len(name), name)):
        figures = "".join(f", {number:,} {what}" for what, number in FIGURES[line].items())
        yield f"{line}: {len(tests[line])} tests, {sum(tests[line]):.0f} s{figures}"
