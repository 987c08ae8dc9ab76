"""S3: a million messages by a fuzzer that looks for what is reached; see `fuzz_messages`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.scale import count

FUZZER = Path(__file__).with_name("fuzz_messages.py")

#: Six messages each. [count]
RUNS = 170_000


@pytest.mark.chaos_long
def test_s03_a_million_messages_that_reach_more_and_more_are_taken_or_refused(tmp_path):
    pytest.importorskip("atheris", reason="needs atheris, which is not for every Python")
    done = subprocess.run(
        [sys.executable, FUZZER, f"-runs={RUNS}", f"-artifact_prefix={tmp_path}/", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [path.read_bytes().hex() for path in tmp_path.glob("crash-*")]
    assert (done.returncode, found) == (0, []), done.stderr[-5000:]
    assert re.search(rf"Done {RUNS} runs", done.stderr)
    count("S3", messages_by_atheris=6 * RUNS)
