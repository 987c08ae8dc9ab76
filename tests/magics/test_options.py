import pytest
from IPython.core.error import UsageError

from ipyviews_magics.options import OUTPUT, RUNNING, Options, signal_number, with_options


@with_options("%px", *RUNNING, *OUTPUT)
def magic(line):
    """Do it."""


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("", {}),
        ("-b", {"block": True}),
        ("--block", {"block": True}),
        ("-a", {"block": False}),
        ("--noblock", {"block": False}),
        ("--no-stream", {"stream": False}),
        ("--no-stream --stream", {"stream": True}),
        ("-t 1:3", {"targets": "1:3"}),
        ("--targets all", {"targets": "all"}),
        ("-t -1", {"targets": "-1"}),
        ("-t -2: -b", {"targets": "-2:", "block": True}),
        ("--targets [0, 2] -b", {"targets": "[0,2]", "block": True}),
        ("-t ( 0, 2 )", {"targets": "(0,2)"}),
        ("--fold", {"fold": True}),
        ("--fold --no-fold", {}),
        ("--verbose", {"verbose": True}),
        ("--progress-after -1", {"progress_after": -1.0}),
        ("--progress-after 0.5", {"progress_after": 0.5}),
        ("--signal-on-interrupt none", {"signal_on_interrupt": "none"}),
        ("-e", {"group_outputs": "engine"}),
        ("-r", {"group_outputs": "order"}),
        ("--group-outputs order", {"group_outputs": "order"}),
        ("-o result", {"out": "result"}),
        ("--out result -a", {"out": "result", "block": False}),
    ],
)
def test_what_is_said_changes_the_defaults(line, changed):
    assert Options().read(magic, line) == Options(**changed)


@pytest.mark.row("0-noninteractive-magics")
@pytest.mark.parametrize(("value", "streams"), [("", True), ("0", True), ("1", False)])
def test_where_nobody_watches_cells_do_not_stream_by_default(monkeypatch, value, streams):
    monkeypatch.setenv("IPP_NONINTERACTIVE", value)
    assert Options().stream is streams
    assert Options().read(magic, "--stream").stream is True


def test_what_is_not_said_stays():
    defaults = Options(verbose=True, progress_after=7.0)
    assert defaults.read(magic, "-b") == Options(verbose=True, progress_after=7.0, block=True)


@pytest.mark.parametrize(
    "line",
    ["--nosuch", "--group-outputs colour", "--progress-after soon", "-t", "-t '0", "stray"],
)
def test_other_options_are_a_usage_error_that_says_where_they_are_listed(line):
    with pytest.raises(UsageError, match=r"; %%px\? lists the options\.$"):
        Options().read(magic, line)


@pytest.mark.parametrize("line", ["--signal-on-interrupt SIGNO", "-o 1st", "-o a.b"])
def test_impossible_values_are_a_usage_error(line):
    with pytest.raises(UsageError):
        Options().read(magic, line)


def test_every_default_is_told_as_it_would_be_typed():
    options = Options(block=False, targets="[0,2]", fold=True, progress_after=0.5)
    typed = [row.split("   ")[0] for row in options.rows()]
    assert typed == [
        "--noblock",
        "--targets [0,2]",
        "--stream",
        "--fold",
        "--no-verbose",
        "--progress-after 0.5",
        "--signal-on-interrupt SIGINT",
    ]
    assert Options().read(magic, " ".join(typed)) == options


def test_the_help_lists_each_option_once():
    for option in ("--block", "--noblock", "--targets", "--no-stream", "--out", "--group-outputs"):
        assert magic.__doc__.count(f"  {option}") + magic.__doc__.count(f", {option}") == 1, option


@pytest.mark.parametrize("name", ["SIGNOSUCH", "999", "-2", ""])
def test_an_unknown_signal_is_a_usage_error(name):
    with pytest.raises(UsageError, match="There is no signal"):
        signal_number(name)
