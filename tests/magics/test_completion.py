"""Tab and Shift-Tab: which code goes to which engine, and what is done with its answer."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from IPython.core.completer import provisionalcompleter

from ipyviews.client import inspection
from ipyviews.errors import ClusterError, EngineError
from ipyviews_magics import completion, load_ipython_extension
from ipyviews_magics.completion import Typed, behind_magic
from ipyviews_magics.registry import activate
from tests.magics.fakes import FakeView


def cut(marked):
    """Split a text at the cursor, which is written as |."""
    return marked.replace("|", ""), marked.index("|")


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("%%px\na.|", Typed("cell", "px", "", "a.", 2)),
        ("%%px\n|", Typed("cell", "px", "", "", 0)),
        (
            "\n  \n%%px_even -t 1 --stream \nx = 1\na|\nb",
            Typed("cell", "px_even", "-t 1 --stream", "x = 1\na\nb", 7),
        ),
        ("%px a.|b", Typed("line", "px", "", "a.b", 2)),
        ("x = 1\n  %px  a.|\ny", Typed("line", "px", "", "a.", 2)),
        ("found = %px a|", Typed("line", "px", "", "a", 1)),
        ("%%time\n%px a|", Typed("cell", "time", "", "%px a", 5)),
        ("%%px|\na", None),
        ("%%px -t |0\na", None),
        ("%p|x a", None),
        ("%px |", Typed("line", "px", "", "", 0)),
        ("%px|", None),
        ("%%px|", None),
        ("a %px b|", None),
        ("a|", None),
        ("|", None),
    ],
)
def test_the_magic_is_taken_off_and_the_cursor_mapped(marked, expected):
    assert behind_magic(*cut(marked)) == expected


class FakeAnswer:
    def __init__(self, reply, *, comes=True):
        self.reply = reply
        self.comes = comes
        self.waited = []

    def wait(self, timeout_s):
        self.waited.append(timeout_s)
        return self.comes

    def done(self):
        return self.comes

    def result(self):
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


class View(FakeView):
    is_balanced = False

    def __init__(self, ids=(0, 1), session="s"):
        super().__init__(ids)
        self.client.connection.session = session
        self.client.resolve = self.resolve

    def resolve(self, targets):
        if targets in (None, "all"):
            return self.client.ids
        if isinstance(targets, int):
            targets = [targets]
        if not set(targets) <= set(self.client.ids):
            raise EngineError("it is gone")
        return list(targets)


@pytest.fixture
def engines(shell, monkeypatch):
    """Loads the magics; notes questions, and answers them with `answer`."""
    load_ipython_extension(shell)
    asked = SimpleNamespace(questions=[], answer=None)

    def complete(client, engine, code, cursor_pos):
        asked.questions.append((engine, code, cursor_pos))
        return asked.answer or FakeAnswer(matches("remote_one", "remote_two", start=0))

    def inspect(client, engine, code, cursor_pos, *, detail_level):
        asked.questions.append((engine, code, cursor_pos, detail_level))
        return asked.answer

    monkeypatch.setattr(inspection, "complete", complete)
    monkeypatch.setattr(inspection, "inspect", inspect)
    return asked


def matches(*texts, start, end=None, kinds=()):
    detailed = [{"text": text, "type": kind} for text, kind in zip(texts, kinds, strict=False)]
    return {
        "matches": list(texts),
        "cursor_start": start,
        "cursor_end": 7 if end is None else end,
        "metadata": {"_jupyter_types_experimental": detailed},
    }


def tab(shell, marked):
    """Press Tab as a front end does; return texts, types and the place they replace."""
    text, cursor = cut(marked)
    with provisionalcompleter():
        found = list(shell.Completer.completions(text, cursor))
    return [(one.text, one.type, text[one.start : one.end]) for one in found]


def test_completions_are_those_of_the_engine_only(shell, engines):
    activate(View())
    shell.user_ns["remote_here"] = 1
    engines.answer = FakeAnswer(
        matches("remote_two", "remote_one", start=4, end=8, kinds=["function", "instance"])
    )
    assert tab(shell, "%%px\nx = remo|") == [
        ("remote_two", "function", "remo"),
        ("remote_one", "instance", "remo"),
    ]
    assert engines.questions == [(0, "x = remo", 8)]
    assert engines.answer.waited == [completion.LIMIT_S]


@pytest.mark.filterwarnings("ignore:.Completer.complete. is pending:PendingDeprecationWarning")
def test_the_older_way_to_complete_gives_the_engine_s_too(shell, engines):
    activate(View())
    line = "%px remote_"
    assert shell.complete("", line, len(line)) == ("remote_", ["remote_one", "remote_two"])
    cell = "%%px\nremote_"
    assert shell.complete("", cell, len(cell)) == ("remote_", ["remote_one", "remote_two"])


def test_what_an_engine_would_replace_behind_the_cursor_stays_there(shell, engines):
    activate(View())
    engines.answer = FakeAnswer(matches("value", start=0, end=5))
    assert tab(shell, "%%px\nval|ue") == [("val", "<unknown>", "val")]


@pytest.mark.parametrize(
    ("cell", "engine"),
    [
        ("%%px\nremote_|", 3),
        ("%%px -t 1\nremote_|", 1),
        ("%%px --targets 2:\nremote_|", 3),
        ("%%px -t -1 --noblock\nremote_|", 4),
        ("%px remote_|", 3),
        ("%%px_lb\nremote_|", 1),
    ],
)
def test_the_first_engine_that_would_run_the_code_is_asked(shell, engines, cell, engine):
    direct, balanced = View([3, 1, 4]), View([3, 1, 4])
    balanced.is_balanced = True
    activate(direct)
    activate(balanced, "_lb")
    direct.client.ids.sort()
    direct.client.ids[:] = [1, 3, 4] if "2:" not in cell else [0, 1, 3]
    balanced.targets = [3, 1, 4]
    tab(shell, cell)
    assert [question[0] for question in engines.questions] == [engine]


def test_autopx_makes_every_cell_one_for_the_engines(shell, engines):
    activate(View())
    shell.run_line_magic("autopx", "")
    shell.user_ns["remote_here"] = 1
    engines.answer = FakeAnswer(matches("remote_one", start=6, end=13))
    assert tab(shell, "a = 1\nremote_|") == [("remote_one", "<unknown>", "remote_")]
    assert engines.questions[-1] == (0, "a = 1\nremote_", 13)
    engines.questions.clear()
    assert "remote_here" in [text for text, _, _ in tab(shell, "%%local\nremote_|")]
    assert engines.questions == []


@pytest.mark.parametrize(
    "cell",
    ["remote_|", "%%time\nremote_|", "%pxresult remote_|", "%%px -t remote_|\n", "%%px_none\nre|"],
)
def test_other_code_is_completed_here(shell, engines, cell):
    activate(View())
    shell.user_ns["remote_here"] = 1
    tab(shell, cell)
    assert engines.questions == []


@pytest.mark.parametrize(
    "answer",
    [
        FakeAnswer(None),
        FakeAnswer(matches("remote_one", start=0), comes=False),
        FakeAnswer(ClusterError("the connection is lost")),
        FakeAnswer(KeyboardInterrupt()),
        FakeAnswer({"matches": ["remote_one"]}),
        FakeAnswer({**matches(start=0), "matches": None}),
        FakeAnswer(matches("remote_one", start=99)),
        FakeAnswer(matches("remote_one", start=-1)),
        FakeAnswer(matches(start=0)),
    ],
    ids=["busy", "late", "lost", "Ctrl-C", "malformed", "null", "behind", "before", "nothing"],
)
def test_without_an_answer_the_names_of_this_process_are_offered(shell, engines, answer, capsys):
    activate(View())
    if isinstance(answer.reply, KeyboardInterrupt):
        answer.wait = interrupt
    engines.answer = answer
    shell.user_ns["remote_here"] = 1
    assert "remote_here" in [text for text, _, _ in tab(shell, "%%px\nremote_|")]
    assert len(engines.questions) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


def interrupt(_timeout_s):
    raise KeyboardInterrupt


def test_an_engine_that_has_not_answered_is_not_waited_for_again(shell, engines):
    activate(View())
    late = engines.answer = FakeAnswer(matches("remote_one", start=0), comes=False)
    tab(shell, "%%px\nremote_|")
    tab(shell, "%%px\nremote_|")
    assert late.waited == [completion.LIMIT_S]
    assert len(engines.questions) == 1
    engines.answer = FakeAnswer(matches("remote_one", start=0))
    assert tab(shell, "%%px -t 1\nremote_|")
    late.comes = True
    assert tab(shell, "%%px\nremote_|") == [("remote_one", "<unknown>", "remote_")]


def test_nothing_is_asked_of_a_closed_client_or_of_engines_that_are_gone(shell, engines):
    view = View()
    activate(view)
    view.targets = [7]
    tab(shell, "%%px\nremote_|")
    view.targets = [0]
    view.client.connection.failure = ClusterError("closed")
    tab(shell, "%%px\nremote_|")
    assert engines.questions == []


def test_tab_neither_starts_a_cluster_nor_connects_to_one(shell, engines, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("nobody asked for a cluster")

    monkeypatch.setattr("ipyviews.Cluster", forbidden)
    monkeypatch.setattr("ipyviews.Client", forbidden)
    monkeypatch.setattr("ipyviews_magics.default.open_clusters", forbidden)
    shell.user_ns["remote_here"] = 1
    assert "remote_here" in [text for text, _, _ in tab(shell, "%%px\nremote_|")]
    assert engines.questions == []


def test_after_the_first_cell_an_engine_is_asked_once_so_that_tab_finds_it_ready(shell, engines):
    activate(View())
    shell.run_cell("1")
    assert engines.questions == []
    shell.run_cell("%%px -t 1\na = 1")
    shell.run_cell("%%px\na = 2")
    assert [engine for engine, *_ in engines.questions] == [1]


def test_nothing_is_asked_after_the_cells_of_a_program(shell, engines, monkeypatch):
    monkeypatch.setattr(completion, "is_watched", lambda: False)
    activate(View())
    shell.run_cell("%%px\na = 1")
    assert engines.questions == []


def test_loading_again_asks_once(shell, engines):
    load_ipython_extension(shell)
    activate(View())
    tab(shell, "%%px\nremote_|")
    assert len(engines.questions) == 1


def test_an_engine_can_be_asked_from_another_thread(shell, engines):
    activate(View())
    found = []
    thread = threading.Thread(target=lambda: found.append(tab(shell, "%%px\nremote_|")))
    thread.start()
    thread.join()
    assert [text for text, _, _ in found[0]] == ["remote_one", "remote_two"]


# -- inspection -----------------------------------------------------------------------------------


class FakeKernel:
    def __init__(self, request=None):
        self.request = request or {}
        self.inspected = []

    def get_parent(self, channel):
        assert channel == "shell"
        return self.request

    def do_inspect(self, code, cursor_pos, detail_level=0, omit_sections=()):
        self.inspected.append((code, cursor_pos, detail_level, omit_sections))
        return {"status": "ok", "found": True, "data": {"text/plain": "of here"}}


@pytest.fixture
def kernel(shell, monkeypatch):
    kernel = FakeKernel()
    monkeypatch.setattr(shell, "kernel", kernel, raising=False)
    return kernel


async def test_inspection_shows_what_the_engine_knows(shell, kernel, engines):
    activate(View())
    told = {"status": "ok", "found": True, "data": {"text/plain": "of the engine"}}
    engines.answer = FakeAnswer(told)
    assert await kernel.do_inspect("%%px\nname", 9, 1) == told
    assert engines.questions == [(0, "name", 4, 1)]
    assert kernel.inspected == []


@pytest.mark.parametrize("told", [None, {"status": "ok", "found": False, "data": {}}])
async def test_what_the_engine_does_not_know_is_inspected_here(shell, kernel, engines, told):
    activate(View())
    engines.answer = FakeAnswer(told)
    found = await kernel.do_inspect("%%px\nname", 9, 0, {"file"})
    assert found["data"]["text/plain"] == "of here"
    assert kernel.inspected == [("%%px\nname", 9, 0, {"file"})]
    await kernel.do_inspect("name", 4)
    assert kernel.inspected[-1] == ("name", 4, 0, ())


@pytest.mark.filterwarnings("ignore:.Completer.complete. is pending:PendingDeprecationWarning")
def test_a_kernel_that_completes_line_by_line_knows_the_cell_from_its_request(
    shell, kernel, engines
):
    activate(View())
    code = "%%px -t 1\nx = 1\nremote_"
    content = {"code": code, "cursor_pos": len(code)}
    kernel.request = {"header": {"msg_type": "complete_request"}, "content": content}
    engines.answer = FakeAnswer(matches("remote_one", start=6, end=13))
    assert shell.complete("", "remote_", 7) == ("remote_", ["remote_one"])
    assert engines.questions == [(1, "x = 1\nremote_", 13)]
