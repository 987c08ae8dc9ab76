"""Cells and what they show: compared with stored text on a terminal and in a notebook.

Each case begins with ``rc[:]`` activated without a suffix, ``rc.load_balanced_view()`` with
``_lb``, and nothing of an earlier case. It has a file for the terminal and one for the notebook in
``texts/``. Write them anew with::

    IPYVIEWS_WRITE_TEXTS=1 pytest tests/magics/test_formats.py

and read the difference before you keep it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Runs before each case.
ACTIVATE = """\
rc[:].activate()
lv = rc.load_balanced_view()
lv.activate('_lb')
"""

EVERYTHING = """\
import sys
from IPython.display import HTML, display
print("out")
print("err", file=sys.stderr)
display(HTML("<b>first</b>"))
display({"second": 2})
6 * 7
"""

#: What matplotlib sends, without its size.
FIGURE = """\
%%px -t 0:2 --no-stream
from IPython.display import Image, display
display(Image(b"\\x89PNG\\r\\n\\x1a\\n"))
"""

#: A cell of two engines that goes on when another cell says so.
CLOSE = """\
import os, tempfile, threading
gate, over = os.path.join(tempfile.mkdtemp(), 'gate'), threading.Event()
_ = rc[:].push({'gate': gate}, block=True)
"""
AT_GATE = """\
%%px -t 0:2 --noblock --out first
import os, time
while not os.path.exists(gate): time.sleep(0.01)
"""
OPEN = """\
first.add_done_callback(lambda _: over.set())
os.mkdir(gate)
assert over.wait(60)
os.removedirs(gate)
"""

UPDATED = """\
h = display(1, display_id="same")
h.update(2)
"""


@dataclass(frozen=True)
class Case:
    """Cells that run one after the other.

    Parameters
    ----------
    name
        Of its files.
    cells
        Their sources.
    live
        Output of several engines comes in any order: it is compared engine by engine.
    anywhere
        A scheduler chooses the engine: its number is not compared.
    """

    name: str
    cells: tuple[str, ...]
    live: bool = False
    anywhere: bool = False


def _everything(name: str, line: str, *, live: bool = False) -> Case:
    return Case(f"group-{name}", (f"%%px {line}\n{EVERYTHING}",), live=live)


def _targets(name: str, targets: str) -> Case:
    cell = f"%%px --verbose --no-stream -t {targets}\nprint('here')\n"
    return Case(f"targets-{name}", (cell,))


CASES = [
    # -- formats --------------------------------------------------------------------------------
    _everything("live-all", "", live=True),
    _everything("live-one", "-t 1"),
    _everything("type", "-t [0,2] --no-stream"),
    _everything("type-said", "-t [0,2] --no-stream --group-outputs type"),
    _everything("engine", "-t [0,2] --no-stream -e"),
    _everything("engine-said", "-t [0,2] --no-stream --group-outputs engine"),
    _everything("order", "-t [0,2] --no-stream -r"),
    _everything("order-said", "-t [0,2] --no-stream --group-outputs order"),
    _everything("one", "-t 1 --no-stream"),
    Case("line", ('%px print("-b {x} $x")',), live=True),
    Case("live-changing", ("%%px -t 1\nprint('a', end='')\nprint('b')\n1\n",)),
    Case("value-of-several-lines", ("%%px -t 0:2 --no-stream\nprint('x')\n'''a\nb'''.split()\n",)),
    Case(
        "value-rich",
        ("%%px -t 0:2 --no-stream\nfrom IPython.display import HTML\nHTML('<i>7</i>')\n",),
    ),
    Case("nothing-to-show", ("%%px\na = 1\n", "%px b = 2")),
    Case("no-line-end", ("%%px -t 0:2 --no-stream\nprint('x', end='')\n",)),
    Case(
        "engine-magics",
        ("%%px -t 0 --no-stream\n%alias_magic t timeit\n!echo from a shell\n",),
    ),
    Case("figure", (FIGURE,)),
    Case("updated", (CLOSE, f"{AT_GATE.replace('0:2', '1')}{UPDATED}", OPEN)),
    Case("folded", ("%%px --fold --no-stream\nprint('same')\n",)),
    Case("not-folded", ("%pxconfig --fold", "%%px --no-fold --no-stream\nprint('same')\n")),
    # -- waiting or not -------------------------------------------------------------------------
    Case("block", ("rc[:].block = False", "%%px --block --no-stream\nprint('x')\n")),
    Case(
        "noblock",
        (
            "%%px -t 1 -a -o first --no-stream\nprint('x')\n",
            "first.wait()\nprint('nothing yet')",
            "%pxresult",
        ),
    ),
    Case(
        "noblock-live",
        (CLOSE, f"{AT_GATE}print('late')\n", "print('later cell')", OPEN),
        live=True,
    ),
    Case("noblock-failure", (CLOSE, f"{AT_GATE}1/0\n", OPEN)),
    # -- targets --------------------------------------------------------------------------------
    _targets("one", "2"),
    _targets("last", "-1"),
    _targets("list", "[0,2]"),
    _targets("list-blanks", "[0, 2]"),
    _targets("slice", "1:3"),
    _targets("slice-step", "::2"),
    _targets("slice-minus", "-2:"),
    _targets("all", "all"),
    _targets("unknown", "9"),
    _targets("twice", "[0,0]"),
    _targets("none-left", "9:"),
    _targets("code", "__import__('os')"),
    Case("targets-once", ("%%px -t 1 --no-stream\nprint(1)\n", "%%px --no-stream\nprint(2)\n")),
    # -- the other options ----------------------------------------------------------------------
    Case("verbose", ("%%px --verbose\na = 1\n", "%%px -a --verbose -o kept\na = 1\n")),
    Case("no-verbose", ("%pxconfig --verbose", "%%px --no-verbose\na = 1\n", "%px a = 1")),
    Case("out", ("name = 'kept'", "%%px -t 1 --no-stream -o {name}\n'{name}'\n", "kept.get()")),
    Case("out-no-name", ("%%px -o 1st\na = 1\n",)),
    Case("local", ("%%px -t 0:2 --local\nprint('x')\na = 1\n", "a")),
    Case("signal-unknown", ("%%px --signal-on-interrupt SIGNOSUCH\na = 1\n",)),
    Case("option-unknown", ("%%px --nosuch\na = 1\n", "%pxresult --nosuch", "%pxconfig -e")),
    Case("option-no-value", ("%%px --progress-after soon\na = 1\n", "%%px -t\na = 1\n")),
    Case("option-no-quote", ('%%px -t "0\na = 1\n',)),
    # -- the other magics -----------------------------------------------------------------------
    Case("pxconfig", ("%pxconfig",)),
    Case(
        "pxconfig-changed",
        (
            "%pxconfig -a -t ::2 --no-stream --fold --verbose",
            "%pxconfig --progress-after -1 --signal-on-interrupt none",
            "%pxconfig",
            "%%px -o kept\na = 1\n",
        ),
    ),
    Case("pxresult-nothing", ("%pxresult", "%pxresult_lb")),
    Case(
        "pxresult",
        (
            f"%%px -t [0,2] -a -o kept --no-stream\n{EVERYTHING}",
            "%pxresult -e",
            "%pxresult --group-outputs order",
            "%pxresult -o again",
            "again is kept",
            "%result",
        ),
    ),
    Case("pxresult-failed", ("%%px -t 1 -a --no-stream\nprint('x')\n1/0\n", "%pxresult")),
    Case(
        "autopx",
        ("%autopx", "a = 'far'", "%%local\n'a' in globals()", "%%px -t 1\na\n", "%autopx", "7"),
    ),
    Case("autopx-twice", ("rc[::2].activate('_even')\n%autopx", "%autopx_even", "%autopx")),
    Case("suffix", ("rc[::2].activate('_even')", "%%px_even --no-stream\nprint('even')\n")),
    Case("suffix-refused", ("rc[:].activate('result')",)),
    # -- a load-balanced view -------------------------------------------------------------------
    Case("balanced", (f"%%px_lb\n{EVERYTHING}",), anywhere=True),
    Case("balanced-grouped", (f"%%px_lb --no-stream -e\n{EVERYTHING}",), anywhere=True),
    Case("balanced-targets", ("%%px_lb -t 2 --verbose\nprint('x')\n",)),
    Case(
        "balanced-noblock",
        ("%%px_lb -a --no-stream --verbose\nprint('x')\n", "%pxresult_lb"),
        anywhere=True,
    ),
    Case("balanced-pxconfig", ("%pxconfig_lb -t [1]", "%pxconfig_lb", "%%px_lb\nprint('x')\n")),
    Case("balanced-autopx", ("%autopx_lb",)),
    # -- errors ---------------------------------------------------------------------------------
    Case("error-everywhere", ("%%px --no-stream\nprint('x')\n1/0\n",)),
    Case("error-live", ("%%px\nprint('x')\n1/0\n",), live=True),
    Case("error-one", ("%%px -t 1\nprint('x')\n1/0\n",)),
]
