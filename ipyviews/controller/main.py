"""The controller's process: its start, its signals, its end.

It ends with its agent, on SIGTERM, or when a client shuts the cluster down. A controller without
an agent, started by hand, is ended by SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ipyviews.controller.config import read_config
from ipyviews.controller.driver import Driver
from ipyviews.errors import IPyViewsError
from ipyviews.launching.kernels import KernelLauncher
from ipyviews.launching.link import AgentLink
from ipyviews.launching.rundir import remove_folder, write_private
from ipyviews.transport.zeromq import ZmqTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ipyviews.controller.config import Config

log = logging.getLogger(__name__)

#: Connections need a descriptor at each end, about six for an engine. [count]
DESCRIPTORS = 65_536


def main(arguments: Sequence[str]) -> int:
    """Run a controller until its cluster ends; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m ipyviews.controller <run folder>\n")
        return 2
    try:
        config = read_config(Path(arguments[0]).absolute())
        _start_log(config.folder)
        # A handler, not SIG_IGN: kernels started from here must not inherit it.
        signal.signal(signal.SIGINT, lambda _signal, _frame: None)
        _raise_descriptor_limit()
        asyncio.run(serve(config))
    except IPyViewsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
