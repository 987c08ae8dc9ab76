"""A client inside a call on an engine of its own cluster."""

from __future__ import annotations

import pytest

import ipyviews as ipp
from tests.engine.kernelbox import interactive

LIMIT_S = 30


def outer(source):
    """A function that uses a client ``rc`` of its own: the rest of its text."""
    return interactive(
        "import ipyviews as ipp\ndef f(x=0):\n with ipp.Client(timeout=20) as rc:\n"
        + "".join(f"  {line}\n" for line in source.splitlines())
    )["f"]


def test_a_client_on_an_engine_is_one_of_its_own_cluster(rc):
    found = rc[0].apply_async(outer("return rc.cluster_id, rc.ids")).get(LIMIT_S)
    assert found == (rc.cluster_id, [0, 1, 2, 3])


def test_inner_calls_run_on_the_engines_that_do_not_wait(rc):
    source = "return rc.load_balanced_view().map_sync(lambda y: y * x, range(20))"
    assert rc[0].apply_async(outer(source), 3).get(LIMIT_S) == [3 * y for y in range(20)]
    assert rc[:3].apply_async(outer(source), 2).get(LIMIT_S) == [[2 * y for y in range(20)]] * 3


def test_inner_calls_to_named_engines(rc):
    source = "return rc[1:].apply_sync(lambda: 'there')"
    assert rc[0].apply_async(outer(source)).get(LIMIT_S) == ["there"] * 3


def test_an_inner_call_to_its_own_engine_fails_instead_of_waiting_for_ever(rc):
    source = "return rc[2].apply_sync(lambda: 1)"
    with pytest.raises(ipp.ImpossibleDependency, match=r"wait for ever: .* engine 2"):
        rc[2].apply_async(outer(source)).get(LIMIT_S)
    assert rc[2].apply_async(len, "a").get(LIMIT_S) == 1


def test_when_all_engines_wait_the_newest_fails_and_the_others_go_on(rc):
    source = "return rc.load_balanced_view().apply_sync(lambda: 7)"
    result = rc[:].apply_async(outer("import time; time.sleep(0.5)\n" + source))
    found = result.get(LIMIT_S, return_exceptions=True)
    failed = [one for one in found if isinstance(one, Exception)]
    assert len(failed) == 1
    assert isinstance(failed[0], ipp.ImpossibleDependency)
    assert [one for one in found if one not in failed] == [7] * 3


def test_queued_calls_of_an_engine_that_waits_go_elsewhere(rc):
    """More calls that wait than engines: none is stuck behind another."""
    source = "return rc[3].apply_sync(lambda: 1)"
    view = rc.load_balanced_view(targets=[0, 1, 2])
    assert view.map_async(outer(source), range(8)).get(LIMIT_S) == [1] * 8


def test_a_lazy_map_inside_a_call(rc):
    source = "return list(rc.load_balanced_view().imap(lambda y: y + 1, range(30)))"
    assert rc[0].apply_async(outer(source)).get(LIMIT_S) == list(range(1, 31))


def test_an_awaited_call_inside_an_async_call(rc):
    source = (
        "import ipyviews as ipp\nasync def f(target):\n async with ipp.AsyncClient() as rc:\n"
        "  return await rc[target].apply_async(lambda: 5)"
    )
    function = interactive(source)["f"]
    assert rc[0].apply_async(function, 1).get(LIMIT_S) == 5
    with pytest.raises(ipp.ImpossibleDependency):
        rc[0].apply_async(function, 0).get(LIMIT_S)


def test_a_cell_may_use_a_client_too(rc):
    code = "import ipyviews\nwith ipyviews.Client() as rc: print(rc[1:3].apply_sync(lambda: 4))"
    result = rc[0].execute(code)
    result.get(LIMIT_S)
    assert result.stdout.strip() == "[4, 4]"


def test_cancelling_the_outer_call_stops_the_inner_one(rc, wait_until):
    result = rc[0].apply_async(outer("import time\nrc[1].apply_sync(time.sleep, 30)"))
    wait_until(lambda: rc.status()["engines"][1]["running"])
    result.cancel()
    assert isinstance(result.exception(LIMIT_S), ipp.TaskAborted)
    assert rc[:2].apply_async(len, "a").get(LIMIT_S) == [1, 1]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (lambda rc: rc, r"argument 'x' is a Client, .* ipyviews.Client\(\) makes one"),
        (lambda rc: [rc[0]], r"argument 'x'\[0\]\._session is a Client, .* makes one"),
        (lambda rc: rc[0].apply_async(int), r"is a AsyncResult, .* Send its value"),
    ],
    ids=["client", "view", "result"],
)
def test_what_belongs_to_this_process_is_not_sent(rc, what, sentence):
    with pytest.raises(ipp.UsageError, match=sentence):
        rc[0].apply_sync(interactive("def f(x): pass")["f"], what(rc))
