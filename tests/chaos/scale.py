"""How much of it: a short form for every change, a long one by ``IPYVIEWS_CHAOS=long``.

python -m pytest tests/chaos                        # minutes
IPYVIEWS_CHAOS=long python -m pytest tests/chaos    # hours
IPYVIEWS_CHAOS_SEED=4711 python -m pytest tests/chaos/test_r01_random_kills.py
"""

from __future__ import annotations

import os
import random
import secrets
from typing import TypeVar

T = TypeVar("T")

IS_LONG = os.environ.get("IPYVIEWS_CHAOS", "") == "long"

#: Where all chance comes from; printed at the end of the run, and with each failure.
SEED = int(os.environ.get("IPYVIEWS_CHAOS_SEED") or secrets.randbelow(2**32))

#: Longest time until anything is answered here [s]: what takes longer counts as hanging.
HANGS_S = 60.0


def scale(short: T, long: T) -> T:
    """Choose between the two forms."""
    return long if IS_LONG else short


def chance_of(name: str) -> random.Random:
    """Return the chance of one test: the same for the same seed, whatever runs before it."""
    return random.Random(f"{SEED}:{name}")
