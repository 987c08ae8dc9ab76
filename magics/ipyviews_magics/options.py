"""What can be said behind ``%%px``, ``%pxresult`` and ``%pxconfig``."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

Magic = TypeVar("Magic", bound=Callable[..., Any])


def _is_watched() -> bool:
    return os.environ.get("IPP_NONINTERACTIVE", "") in {"", "0"}


@dataclass(frozen=True)
class Options:
    """How one cell is run; those of a magics set are its defaults."""

    #: None means: as the view says.
    block: bool | None = None
    #: Not where IPP_NONINTERACTIVE says that nobody watches.
    stream: bool = field(default_factory=_is_watched)
    #: Whether equal output of several engines is shown once.
    fold: bool = False
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
    #: Whether engines that are started again run the cell again.
    setup: bool = False

    def read(self, magic: Callable[..., Any], line: str) -> Options:
        """Put what a line says over these defaults.

        Raises
        ------
        UsageError
            IPython's, when `magic` has no such option, or it cannot have such a value.
        """
        try:
            said = vars(parse_argstring(magic, _joined(line)))
        except (UsageError, ValueError) as error:
            # The parser that IPython gave the magic knows its name.
            name = magic.parser.prog  # type: ignore[attr-defined]
            raise UsageError(f"{error}; %{name}? lists the options.") from None
        read = replace(self, **{name: value for name, value in said.items() if value is not None})
        signal_number(read.signal_on_interrupt)
        if read.out is not None and not read.out.isidentifier():
            raise UsageError(f"-o takes the name of a variable, not {read.out!r}.")
        return read

    def rows(self) -> list[str]:
        """Return the defaults as a person would type them, each with what it means."""
        rows = []
        for option in RUNNING:
            name, meaning = option.args[-1], option.kwds["help"]
            value = getattr(self, option.kwds.get("dest", name.lstrip("-").replace("-", "_")))
            if option.kwds.get("action") != "store_const":
                rows.append(f"{f'{name} {_short(value)}':<30} {meaning}")
            elif value == option.kwds["const"]:
                rows.append(f"{name:<30} {meaning}")
        return rows


def _joined(line: str) -> str:
    """Let targets be typed with blanks, ``[0, 2]``, and begin with a minus, ``-2:``."""
    line = re.sub(r"[\[(][^\])]*[\])]", lambda found: "".join(found[0].split()), line)
    return re.sub(r"(?<!\S)(?:-t|--targets)\s+(?=-\d)", "--targets=", line)


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


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


def with_options(name: str, *options: argument) -> Callable[[Magic], Magic]:
    """Give a magic options, read by `Options.read`; its help lists them in this order."""

    def decorate(magic: Magic) -> Magic:
        # As if they were decorators above the magic: the lowest is applied first.
        for option in reversed(options):
            option(magic)
        magic_arguments(name)(magic)
        return magic

    return decorate


def _flag(*names: str, dest: str, value: object = True, says: str) -> argument:
    return argument(*names, dest=dest, action="store_const", const=value, help=says)


#: Of all three.
FOLD = (
    _flag("--fold", dest="fold", says="show equal output of several engines once"),
    _flag("--no-fold", dest="fold", value=False, says="show the output of each engine"),
)

#: Of ``%%px`` and ``%pxconfig``.
RUNNING = (
    _flag("-b", "--block", dest="block", says="wait for the engines"),
    _flag("-a", "--noblock", dest="block", value=False, says="return an AsyncResult at once"),
    argument("-t", "--targets", help="engines to use: all, 0, [0,2], 1:3"),
    _flag("--stream", dest="stream", says="show output as it comes"),
    _flag("--no-stream", dest="stream", value=False, says="show output at the end, in groups"),
    *FOLD,
    _flag("--verbose", dest="verbose", says="say on which engines the code runs"),
    _flag("--no-verbose", dest="verbose", value=False, says="do not say on which engines"),
    argument(
        "--progress-after",
        type=float,
        metavar="SECONDS",
        help="show a progress bar after so long; 0 at once, -1 never",
    ),
    argument(
        "--signal-on-interrupt",
        metavar="SIGNAL",
        help="what an interrupt sends; SIGINT stops this cell only, none lets it run on",
    ),
)

#: Of ``%%px`` and ``%pxresult``.
OUTPUT = (
    argument(
        "--group-outputs",
        choices=["type", "engine", "order"],
        help="how output at the end is grouped",
    ),
    _flag("-e", dest="group_outputs", value="engine", says="as --group-outputs engine"),
    _flag("-r", dest="group_outputs", value="order", says="as --group-outputs order"),
    argument("-o", "--out", metavar="NAME", help="store the AsyncResult under this name"),
)

#: Of ``%%px``.
LOCAL = _flag("--local", dest="local", says="run the cell here as well")
SETUP = _flag("--setup", dest="setup", says="run the cell again on engines that are restarted")
