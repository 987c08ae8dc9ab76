import io
import sys
import time
from types import SimpleNamespace

import pytest

from ipyviews.client import progress
from ipyviews.client.progress import Standing, Tally, drawn, line, surface


class Task(SimpleNamespace):
    def __init__(self, number, engine, status="ok"):
        super().__init__(id=f"r.{number}", engine=engine, status=status)


class Sink:
    """Notes what is painted."""

    def __init__(self, *, is_page=True):
        self.is_page = is_page
        self.painted = []

    def paint(self, name, text):
        self.painted.append(text)


class Place:
    columns = 80

    def __init__(self):
        self.shown = []

    def show(self, text):
        self.shown.append(text)

    def close(self, *, keep):
        self.shown.append("kept" if keep else "gone")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def nobody_says_anything(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("IPYVIEWS_PROGRESS", raising=False)


def test_ends_and_failures_are_counted():
    tasks, finished = [Task(n, engine=n) for n in range(3)], []
    tally = Tally(tasks, finished)
    assert tally() == Standing(0, 3)
    finished += [tasks[2], Task(1, engine=1, status="error")]
    assert tally() == Standing(2, 3, failed=1)
    assert tally() == Standing(2, 3, failed=1)


def test_items_are_counted_not_chunks():
    tasks, finished = [Task(n, engine=None) for n in range(2)], []
    tally = Tally(tasks, finished, sizes=[60_000, 40_000])
    finished.append(tasks[0])
    assert tally() == Standing(60_000, 100_000)


def test_engines_with_nothing_left_are_counted_where_each_has_several_tasks():
    tasks, finished = [Task(n, engine=n % 2) for n in range(4)], []
    tally = Tally(tasks, finished)
    finished += [tasks[0], tasks[2], tasks[1]]
    assert tally() == Standing(3, 4, engines=(1, 2))


@pytest.mark.parametrize("engine", [None, 3])
def test_engines_are_not_counted_where_they_say_nothing(engine):
    finished = [Task(0, engine=2)]
    assert Tally([Task(0, engine=None), Task(1, engine=engine)], finished)().engines is None


def test_a_look_costs_only_what_has_ended_since_the_last_one():
    class Counted(list):
        taken = 0

        def __getitem__(self, part):
            found = super().__getitem__(part)
            self.taken += len(found)
            return found

    tasks = [Task(n, engine=None) for n in range(1000)]
    finished = Counted()
    tally = Tally(tasks, finished)
    for task in tasks:
        finished.append(task)
        tally()
    assert finished.taken == 1000


@pytest.mark.parametrize(
    ("standing", "told"),
    [
        (Standing(0, 4), "0/4 tasks [00:10]"),
        (Standing(2, 4), "2/4 tasks [00:10<00:10, 0.2/s]"),
        (Standing(4, 4, failed=1), "4/4 tasks, 1 failed [00:10<00:00, 0.4/s]"),
        (Standing(900, 1000, 0, (1, 4)), "900/1000 tasks, 1/4 engines [00:10<00:01, 90/s]"),
        (Standing(0, 0), "0/0 tasks [00:10]"),
    ],
)
def test_a_bar_tells_done_failed_time_time_left_and_rate(standing, told):
    text = line(standing, "sleep", "tasks", 10, 80)
    assert text.startswith("sleep: ")
    assert text.endswith(f"| {told}")
    assert len(text) == 80


def test_a_bar_begins_when_the_work_began_and_ends_with_the_last_count():
    counts = iter([Standing(0, 4), Standing(1, 4), Standing(4, 4)])
    place = Place()
    with drawn(place, lambda: next(counts), unit="engines", began=time.time() - 61) as draw:
        draw()
    assert [text.split("| ")[-1][:12] for text in place.shown] == [
        "0/4 engines ",
        "1/4 engines ",
        "4/4 engines ",
        "kept",
    ]
    assert "[01:0" in place.shown[0]


def test_a_bar_that_does_not_stay_is_not_drawn_again_at_the_end():
    place = Place()
    with pytest.raises(KeyboardInterrupt), drawn(place, lambda: Standing(0, 4), keep=False):
        raise KeyboardInterrupt
    assert len(place.shown) == 2
    assert place.shown[-1] == "gone"


def test_without_a_place_nothing_is_counted():
    with drawn(None, lambda: pytest.fail("looked")) as draw:
        draw()


def test_a_painted_bar_is_replaced_and_at_the_end_left_or_emptied():
    sink = Sink()
    place = surface(sink, asked=True)
    place.show("a")
    place.show("a")
    place.show("b")
    place.close(keep=True)
    assert sink.painted == ["a", "b"]
    place.close(keep=False)
    assert sink.painted == ["a", "b", ""]


def test_a_bar_that_was_never_drawn_leaves_nothing():
    sink = Sink()
    surface(sink, asked=True).close(keep=False)
    assert sink.painted == []


@pytest.mark.parametrize(
    ("names", "asked", "not_asked"),
    [
        ({}, True, True),
        ({"CI": "true"}, False, False),
        ({"IPYVIEWS_PROGRESS": "0"}, False, False),
        ({"CI": "true", "IPYVIEWS_PROGRESS": "1"}, True, True),
    ],
)
@pytest.mark.parametrize("is_page", [True, False])
def test_the_environment_can_say_no_and_yes(monkeypatch, names, asked, not_asked, is_page):
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal())
    sink = Sink(is_page=is_page)
    assert (surface(sink, asked=True) is not None) is asked
    assert (surface(sink, asked=False) is not None) is not_asked


@pytest.mark.parametrize(("allow_stdin", "is_there"), [(True, True), (False, False)])
def test_a_notebook_that_a_program_runs_has_no_bar_unless_asked(monkeypatch, allow_stdin, is_there):
    request = {"content": {"allow_stdin": allow_stdin}}
    kernel = SimpleNamespace(get_parent=lambda channel: request)
    monkeypatch.setattr(progress, "shell", lambda: SimpleNamespace(kernel=kernel))
    assert (surface(Sink(), asked=False) is not None) is is_there
    assert surface(Sink(), asked=True) is not None


def test_where_nobody_watches_whoever_asked_gets_one_line_at_the_end(monkeypatch):
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    assert surface(Sink(is_page=False), asked=False) is None
    place = surface(Sink(is_page=False), asked=True)
    place.show("half")
    place.show("all")
    assert not out.getvalue()
    place.close(keep=True)
    assert out.getvalue() == "all\n"


def test_a_widget_is_used_where_one_is_asked_for(monkeypatch):
    class Widget:
        n = 0
        notes = ()

        def __init__(self, **options):
            made.append((self, options))

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return

        def set_postfix_str(self, text, refresh):
            self.notes += (text,)

        def update(self, more):
            self.n += more

    made = []
    monkeypatch.setattr("tqdm.notebook.tqdm", Widget)
    counts = iter([Standing(0, 4), Standing(0, 4), Standing(3, 4, failed=1), Standing(4, 4, 1)])
    with progress.bar(lambda: next(counts), "sleep", widget=True) as draw:
        draw()
    ((widget, options),) = made
    assert options == {"total": 4, "desc": "sleep", "unit": "tasks"}
    assert (widget.n, widget.notes) == (4, ("", "1 failed", "1 failed"))
