"""Errors of engines, raised again on the client."""

import copy
import json
import pickle

import cloudpickle
import pytest

from ipyviews.errors import CompositeError, IPyViewsError, RemoteError, UsageError
from ipyviews.protocol.failures import rebuild

CLONES = [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]


def content(error, lines=("tb",)):
    return {"ename": type(error).__name__, "evalue": str(error), "traceback": list(lines)}


def sent(error, engine=0, task="c-1.0", method="apply"):
    return rebuild(content(error), [cloudpickle.dumps(error)], engine, task, method)


class Plain(Exception):
    pass


class Demanding(Exception):
    """Cannot be unpickled: the constructor wants more than `args` holds."""

    def __init__(self, a, b):
        super().__init__(a)


class Rich(Exception):
    def __init__(self, code, *, hint):
        super().__init__(code)
        self.code = code
        self.hint = hint

    def __reduce__(self):
        return _rich, (self.code, self.hint)

    def __str__(self):
        return f"code {self.code}"


def _rich(code, hint):
    return Rich(code, hint=hint)


class Slotted(Exception):
    __slots__ = ("extra",)

    def __reduce__(self):
        return type(self), self.args, (None, {"extra": self.extra})

    def __setstate__(self, state):
        self.extra = state[1]["extra"]


class Closed(Exception):
    def __init_subclass__(cls, **kwargs):
        raise TypeError("no subclasses")


class Rude(BaseException):
    pass


class Quits(Exception):
    def __reduce__(self):
        return exit, (3,)


@pytest.mark.row("4-remote-type", "4-engine-info")
def test_the_remote_type_and_remote_error_both_catch_it():
    error = sent(ZeroDivisionError("division by zero"))
    assert str(error) == "[0:apply] ZeroDivisionError: division by zero"
    assert repr(error) == "<RemoteError[0]:ZeroDivisionError(division by zero)>"
    for kind in (ZeroDivisionError, RemoteError, IPyViewsError, ArithmeticError):
        with pytest.raises(kind):
            raise error
    assert (error.ename, error.evalue, error.traceback) == (
        "ZeroDivisionError",
        "division by zero",
        ["tb"],
    )
    assert (error.engine, error.task) == (0, "c-1.0")
    place = {"engine_uuid": "e0", "engine_id": 0, "method": "apply", "task": "c-1.0"}
    assert error.engine_info == place
    assert error.render_traceback() == ["[0:apply]", "tb"]


def test_arguments_and_attributes_are_the_remote_ones():
    error = sent(Rich(7, hint="look"))
    assert isinstance(error, Rich)
    assert (error.args, error.code, error.hint) == ((7,), 7, "look")
    assert str(error) == "[0:apply] Rich: code 7"
    lost = sent(FileNotFoundError(2, "No such file or directory", "/x"))
    assert isinstance(lost, FileNotFoundError)
    assert (lost.errno, lost.strerror, lost.filename) == (2, "No such file or directory", "/x")
    slotted = Slotted("s")
    slotted.extra = 5
    assert sent(slotted).extra == 5


def test_text_errors_keep_their_parts():
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        again = sent(error)
    assert (again.encoding, again.object, again.start, again.end) == ("utf-8", b"\xff", 0, 1)
    try:
        json.loads("{")
    except json.JSONDecodeError as error:
        again = sent(error)
    assert isinstance(again, json.JSONDecodeError)
    assert again.pos == 1
    syntax = sent(SyntaxError("bad", ("f.py", 3, 1, "x x")))
    assert (syntax.filename, syntax.lineno) == ("f.py", 3)


def test_a_group_raised_there_is_a_group_here():
    error = sent(ExceptionGroup("g", [ValueError("a"), KeyError("b")]))
    assert isinstance(error, ExceptionGroup)
    assert len(error.exceptions) == 2
    composite = sent(CompositeError("m", [RemoteError("E", "v")]))
    assert isinstance(composite, CompositeError)
    assert isinstance(sent(UsageError("do this")), UsageError)


@pytest.mark.parametrize(
    "error",
    [
        Demanding(1, 2),
        Closed("c"),
        StopIteration(3),
        StopAsyncIteration(),
        Rude("r"),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.row("4-remote-type")
def test_what_cannot_be_rebuilt_safely_is_a_plain_remote_error(error):
    again = sent(error)
    assert type(again) is RemoteError
    assert (again.ename, again.evalue) == (type(error).__name__, str(error))
    assert not isinstance(again, StopIteration)


@pytest.mark.parametrize(
    "frames",
    [[], [b""], [b"rubbish"], [memoryview(b"\x80\x05")], [pickle.dumps(5)], [pickle.dumps(None)]],
)
def test_without_a_usable_pickle_it_is_a_plain_remote_error(frames):
    again = rebuild(content(ValueError("v")), frames, 1, None, "apply")
    assert type(again) is RemoteError
    assert str(again) == "[1:apply] ValueError: v"


def test_an_unpickling_that_ends_the_process_does_not():
    assert type(sent(Quits("q"))) is RemoteError


@pytest.mark.parametrize("odd", [{}, {"ename": 3, "evalue": None, "traceback": "text"}])
def test_odd_contents_never_raise(odd):
    assert isinstance(rebuild(odd, []), RemoteError)


def test_a_class_made_in_the_notebook_comes_back():
    scope = {"__name__": "__main__"}
    exec("class Mine(Exception):\n    note = 'x'", scope)
    error = sent(scope["Mine"]("m"))
    assert isinstance(error, RemoteError)
    assert (error.ename, error.args) == ("Mine", ("m",))


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_rebuilt_errors_can_be_copied_and_pickled(clone):
    error = sent(FileNotFoundError(2, "No such file or directory", "/x"), engine=4)
    error.add_note("seen by me")
    twin = clone(error)
    assert isinstance(twin, FileNotFoundError)
    assert isinstance(twin, RemoteError)
    assert (str(twin), twin.errno, twin.filename) == (str(error), 2, "/x")
    assert (twin.engine, twin.task, twin.traceback) == (4, "c-1.0", ["tb"])
    assert twin.__notes__ == ["On the engine:\ntb", "seen by me"]


def test_errors_of_one_type_are_of_one_type_here_too():
    assert type(sent(KeyError("a"), 0)) is type(sent(KeyError("b"), 1))


def test_an_error_that_passed_two_clusters_keeps_its_type():
    inner = sent(ZeroDivisionError("division by zero"), engine=7)
    outer = rebuild(content(inner), [pickle.dumps(inner)], 1, "d-1.0", "apply")
    assert isinstance(outer, ZeroDivisionError)
    assert str(outer).startswith("[1:apply] RemoteZeroDivisionError: [7:apply] ")
    assert isinstance(pickle.loads(pickle.dumps(outer)), ZeroDivisionError)


def test_a_rebuilt_error_is_no_alias_of_what_was_sent():
    plain = Plain(["list"])
    again = sent(plain)
    again.args[0].append(1)
    assert plain.args == (["list"],)
