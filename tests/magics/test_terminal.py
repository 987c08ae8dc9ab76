"""The magics in IPython on a terminal: plain labelled text."""

import subprocess
import sys

import pytest

LINES = """\
%load_ext ipyviews
import ipyviews
rc = ipyviews.Cluster(n=2).start_and_connect_sync(activate=True)
%px print("hello")
%px -1 // 0 if False else 7
%px 1/0
exit
"""


@pytest.mark.kernels
def test_a_terminal_shows_labelled_text_and_its_end_ends_the_cluster(run_root):
    command = [
        sys.executable,
        "-m",
        "IPython",
        "--simple-prompt",
        "--no-banner",
        "--colors=nocolor",
    ]
    ran = subprocess.run(
        command, input=LINES, capture_output=True, text=True, timeout=90, check=False
    )
    for engine in range(2):
        assert f"[stdout:{engine}] \nhello\n" in ran.stdout
        assert f"Out[{engine}:2]: 7\n" in ran.stdout
    assert "[0-1:execute]: (on 2 of 2 engines)\n" in ran.stdout
    assert ran.stdout.count("division by zero") == 1
