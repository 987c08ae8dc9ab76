"""What can be said behind ``%%px``, ``%pxresult`` and ``%pxconfig``."""

from __future__ import annotations

import signal
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument

Magic = TypeVar("Magic", bound=Callable[..., Any])


@dataclass(frozen=True)
class Options:
    """How one cell is run; those of a magics set are its defaults."""

    #: None means: as the view says.
    block: bool | None = None
    stream: bool = True
    #: As typed; None means the view's.
    targets: str | None = None
    verbose: bool = False
    #: Quiet time before the bar [s]; -1 means no bar.
    progress_after: float = 2.0
    signal_on_interrupt: str = "SIGINT"
    #: One of type, engine, order.
    group_outputs: str = "type"
    #: Name for the AsyncResult in the user's namespace.
    out: str | None = None
    local: bool = False

    def changed(self, said: Namespace) -> Options:
        """Put what was said over these defaults."""
        return replace(self, **{name: v for name, v in vars(said).items() if v is not None})


def signal_number(name: str) -> int | None:
    """Read a signal: a name with or without SIG, digits, or "none".

    Raises
    ------
    UsageError
        IPython's, when there is no such signal.

    Examples
    --------
    >>> signal_number("SIGTERM"), signal_number("int"), signal_number("9"), signal_number("none")
    (15, 2, 9, None)
    """
    if name.lower() == "none":
        return None
    try:
        if name.isdigit():
            return signal.Signals(int(name)).value
        return signal.Signals["SIG" + name.upper().removeprefix("SIG")].value
    except (KeyError, ValueError):
        raise UsageError(f"There is no signal {name!r}; say SIGINT, SIGTERM or none.") from None


def running_options(magic: Magic) -> Magic:
    """Add the options that ``%%px`` and ``%pxconfig`` share."""
    return _all(
        magic,
        argument(
            "-b",
            "--block",
            dest="block",
            action="store_const",
            const=True,
            help="wait for the engines",
        ),
        argument(
            "-a",
            "--noblock",
            dest="block",
            action="store_const",
            const=False,
            help="return an AsyncResult at once",
        ),
        argument("-t", "--targets", help="engines to use: all, 0, [0,2], 1:3"),
        argument(
            "--stream",
            dest="stream",
            action="store_const",
            const=True,
            help="show output as it comes",
        ),
        argument(
            "--no-stream",
            dest="stream",
            action="store_const",
            const=False,
            help="show output at the end, in groups",
        ),
        argument(
            "--verbose",
            dest="verbose",
            action="store_const",
            const=True,
            help="say on which engines the code runs",
        ),
        argument(
            "--no-verbose", dest="verbose", action="store_const", const=False, help="do not say it"
        ),
        argument(
            "--progress-after",
            type=float,
            metavar="SECONDS",
            help="show a progress bar after so long; 0 at once, -1 never",
        ),
        argument(
            "--signal-on-interrupt",
            metavar="SIGNAL",
            help="what an interrupt here sends to the engines: SIGINT stops this cell only; "
            "none lets it run on",
        ),
    )


def output_options(magic: Magic) -> Magic:
    """Add the options that ``%%px`` and ``%pxresult`` share."""
    return _all(
        magic,
        argument(
            "--group-outputs",
            choices=["type", "engine", "order"],
            help="how output at the end is grouped",
        ),
        argument(
            "-e",
            dest="group_outputs",
            action="store_const",
            const="engine",
            help="the same as --group-outputs engine",
        ),
        argument(
            "-r",
            dest="group_outputs",
            action="store_const",
            const="order",
            help="the same as --group-outputs order",
        ),
        argument("-o", "--out", metavar="NAME", help="store the AsyncResult under this name"),
    )


def _all(magic: Magic, *arguments: Callable[[Magic], Magic]) -> Magic:
    # Decorators apply from the last to the first, and the help lists them in that order.
    for decorate in reversed(arguments):
        magic = decorate(magic)
    return magic
