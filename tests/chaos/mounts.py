"""Programs that see other file systems than everybody else: small, full or read-only ones."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys

import pytest


@functools.cache
def why_not():
    """Say why nothing can be mounted here; empty if it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return "only root on Linux may mount file systems of its own"
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"nothing can be mounted here: {tried.stderr.strip()}"


def run(mounts, code, timeout_s, **environment):
    """Run Python code that prints JSON where other file systems are mounted.

    Parameters
    ----------
    mounts
        Folder to options of a tmpfs; "full" among them fills it.
    code
        The program.
    timeout_s
        It hangs if it takes longer.
    environment
        Added to that of this process; None takes a variable away.
    """
    if reason := why_not():
        pytest.skip(reason)
    lines = ["set -e"]
    for folder, options in mounts.items():
        real = ",".join(option for option in options.split(",") if option != "full")
        lines.append(f"mkdir -p {folder} && mount -t tmpfs -o {real},mode=0700 tmpfs {folder}")
        if "full" in options.split(","):
            lines.append(f"cat /dev/zero > {folder}/fill 2>/dev/null || true")
    lines.append('exec "$@"')
    command = ["unshare", "--mount", "sh", "-c", "\n".join(lines), "sh"]
    found = subprocess.run(
        [*command, sys.executable, "-c", code],
        env={k: v for k, v in {**os.environ, **environment}.items() if v is not None},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1]), found.stderr
