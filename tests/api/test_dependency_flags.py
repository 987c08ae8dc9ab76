"""Dependencies as they are written down: `Dependency`, decorators, flags; without engines."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import traitlets

import ipyviews as ipp
from ipyviews.errors import UsageError

row = pytest.mark.row

UNKNOWN = "0123456789abcdef-1.0"


# -- Dependency, without engines -------------------------------------------------------------------


@row("0-dependencies", "5-dependency")
def test_a_dependency_is_a_set_of_ids_made_of_ids_and_results(fake_rc):
    result = fake_rc[:].apply_async(abs, -1)
    assert ipp.Dependency() == set()
    assert ipp.Dependency("a-1.0") == {"a-1.0"}
    assert ipp.Dependency(result) == set(result.msg_ids)
    mixed = ipp.Dependency(["a-1.0", result, "a-2.0"], all=False, success=False, failure=True)
    assert mixed == {"a-1.0", "a-2.0", *result.msg_ids}
    assert (mixed.all, mixed.success, mixed.failure) == (False, False, True)
    default = ipp.Dependency(())
    assert (default.all, default.success, default.failure) == (True, True, False)


@row("5-dependency-dict", "11-dependency-msg-ids")
def test_a_dependency_becomes_a_dict_and_again_a_dependency():
    first = ipp.Dependency(["b", "a"], all=False, failure=True)
    told = first.as_dict()
    assert told == {"dependencies": ["a", "b"], "all": False, "success": True, "failure": True}
    again = ipp.Dependency(told)
    assert again == first
    assert again.as_dict() == told
    assert ipp.Dependency({"msg_ids": ["a"]}) == {"a"}
    assert copy.copy(first).as_dict() == pickle.loads(pickle.dumps(first)).as_dict() == told


@row("5-dependency-type")
@pytest.mark.parametrize("bad", [[5], ["a", None], 5, [["a"]]])
def test_what_is_neither_an_id_nor_a_result_is_a_type_error(bad):
    with pytest.raises(TypeError):
        ipp.Dependency(bad)


@row("5-dependency-neither")
def test_a_dependency_on_neither_success_nor_failure_is_a_value_error():
    with pytest.raises(ValueError, match="at least one of successes or failures"):
        ipp.Dependency("a", success=False)


CASES = [
    # flags, succeeded, failed, met, unreachable
    ({}, "ab", "", True, False),
    ({}, "a", "", False, False),
    ({}, "a", "b", False, True),
    ({"failure": True}, "a", "b", True, False),
    ({"success": False, "failure": True}, "a", "", False, True),
    ({"success": False, "failure": True}, "", "ab", True, False),
    ({"all": False}, "a", "", True, False),
    ({"all": False}, "", "a", False, False),
    ({"all": False}, "", "ab", False, True),
    ({"all": False, "success": False, "failure": True}, "a", "b", True, False),
    ({"all": False, "success": False, "failure": True}, "ab", "", False, True),
]


@row("5-check", "5-unreachable", "5-all-any", "5-success-failure")
@pytest.mark.parametrize(("flags", "succeeded", "failed", "met", "unreachable"), CASES)
def test_check_and_unreachable_tell_by_what_has_ended(flags, succeeded, failed, met, unreachable):
    dependency = ipp.Dependency(["a", "b"], **flags)
    assert dependency.check(set(succeeded), set(failed)) is met
    assert dependency.unreachable(list(succeeded), list(failed)) is unreachable


@row("5-check", "5-unreachable")
def test_an_empty_dependency_is_met():
    assert ipp.Dependency().check(())
    assert ipp.Dependency(all=False).check([], None)
    assert not ipp.Dependency(all=False).unreachable((), ["a"])


# -- depend and require, without engines -----------------------------------------------------------


@row("5-dependent")
def test_a_dependent_can_be_called_and_asks_what_it_depends_on():
    asked = []
    function = ipp.dependent(abs, lambda *a, **k: asked.append((a, k)) or True, 1, b=2)
    assert function(-3) == 3
    assert not asked
    function.check_dependency()
    assert asked == [((1,), {"b": 2})]
    assert function.__name__ == "abs"


@row("5-depend")
@pytest.mark.parametrize("answer", [None, 0, "", []])
def test_only_false_itself_is_unmet(answer):
    ipp.dependent(abs, lambda: answer).check_dependency()


@row("5-require-functions")
@pytest.mark.parametrize("bad", [5, None, [1], object()])
def test_requiring_an_object_without_a_name_is_a_type_error(bad):
    with pytest.raises(TypeError, match="give other objects by keyword"):
        ipp.require(bad)


# -- the flags -------------------------------------------------------------------------------------


@pytest.fixture
def fake_lv(fake_rc):
    return fake_rc.load_balanced_view()


@row("2.3-timeout-type", "2.3-timeout-negative", "2.3-timeout-none")
def test_timeout_is_a_number_of_seconds_or_none(fake_lv):
    with pytest.raises(TypeError, match="Invalid type for timeout"):
        fake_lv.set_flags(timeout="soon")
    with pytest.raises(TypeError, match="Invalid type for timeout"):
        fake_lv.timeout = [1]
    with pytest.raises(ValueError, match="Invalid timeout: -1"):
        fake_lv.set_flags(timeout=-1)
    assert fake_lv.set_flags(timeout=None).timeout is None
    assert fake_lv.set_flags(timeout=2).timeout == 2.0
    with fake_lv.temp_flags(timeout=None):
        assert fake_lv.apply_sync(abs, -1) == 1


@row("2.3-dependency-forms", "2.3-dependency-dict", "11-dependency-msg-ids")
def test_dependencies_are_given_in_many_forms_and_sent_in_one(fake, fake_lv):
    result = fake_lv.apply_async(abs, -1)
    (name,) = result.msg_ids
    forms = [
        name,
        result,
        ipp.Dependency(result),
        [name],
        {name},
        (result,),
        [result, name],
        {"dependencies": [name]},
        {"msg_ids": [name], "all": True},
        ipp.Dependency(name).as_dict(),
    ]
    for form in forms:
        with fake_lv.temp_flags(after=form, follow=form):
            fake_lv.apply_sync(abs, -1)
        sent = {"tasks": [name], "all": True, "success": True, "failure": False}
        assert fake.requests[-1][2]["after"] == fake.requests[-1][2]["follow"] == sent
    fake_lv.set_flags(after=None, follow=None).apply_sync(abs, -1)
    assert {"after", "follow"}.isdisjoint(fake.requests[-1][2])
    with fake_lv.temp_flags(after={"dependencies": [name], "all": False, "failure": True}):
        fake_lv.map_sync(abs, [-1])
    sent = {"tasks": [name], "all": False, "success": True, "failure": True}
    assert fake.requests[-1][2]["after"] == sent


@row("2.3-dependency-invalid", "2.3-invalid-not-assigned")
@pytest.mark.parametrize("bad", [5, 1.5, object(), [5], {"dependencies": [5]}])
def test_what_is_no_dependency_is_a_value_error_and_leaves_all_flags_as_they_were(fake_lv, bad):
    fake_lv.set_flags(after=UNKNOWN, timeout=3)
    with pytest.raises(ValueError, match="Invalid dependency: ") as caught:
        fake_lv.set_flags(timeout=7, label="new", after=bad)
    assert isinstance(caught.value, UsageError)
    assert (fake_lv.after, fake_lv.timeout, fake_lv.label) == (UNKNOWN, 3, None)
    with pytest.raises(ValueError, match="Invalid dependency: "):
        fake_lv.follow = bad
    assert fake_lv.follow is None


@row("2.3-retries-type")
@pytest.mark.parametrize("bad", ["3", 1.5, None, -1])
def test_retries_is_a_whole_number(fake_lv, bad):
    for flag, default in (("retries", 0), ("reruns", 1)):
        with pytest.raises(traitlets.TraitError):
            fake_lv.set_flags(**{flag: bad})
        assert getattr(fake_lv, flag) == default


def test_flags_of_a_block_are_sent_with_its_calls_cells_and_maps_only(fake, fake_lv):
    with fake_lv.temp_flags(retries=2, reruns=0, timeout=9, label="mine"):
        fake_lv.apply_sync(abs, -1)
        fake_lv.map_sync(abs, [-1])
        list(fake_lv.imap(abs, [-1]))
        fake_lv.execute("x = 1", block=True)
        inside = [ours for _, _, ours in fake.requests if "any" in ours]
    fake_lv.apply_sync(abs, -1)
    assert len(inside) == 4
    names = ("retries", "reruns", "timeout", "label")
    assert {tuple(ours[name] for name in names) for ours in inside} == {(2, 0, 9.0, "mine")}
    assert set(names).isdisjoint(fake.requests[-1][2])


# -- the scheme 'pure' -----------------------------------------------------------------------------


@pytest.fixture
def pure(fake):
    file = fake.file
    file["ipyviews"]["scheme"] = "pure"
    with ipp.Client(file, transport=fake.transport) as rc:
        assert rc.scheme == rc._task_scheme == "pure"
        yield rc


@row("2.3-pure", "5-pure", "1.2-scheme")
@pytest.mark.parametrize(
    "flags", [{"after": UNKNOWN}, {"follow": UNKNOWN}, {"retries": 1}, {"timeout": 1}]
)
def test_the_scheme_pure_knows_none_of_the_flags(pure, flags):
    lv = pure.load_balanced_view()
    (name,) = flags
    with lv.temp_flags(**flags):
        with pytest.raises(RuntimeError, match=f"'pure', which knows no {name}"):
            lv.apply_async(abs, -1)
        with pytest.raises(RuntimeError, match="'pure'"):
            lv.map_async(abs, [-1])
        with pytest.raises(RuntimeError, match="'pure'"):
            lv.execute("x = 1")
    assert lv.apply_sync(abs, -1) == 1
    with pytest.raises(RuntimeError, match="knows no targets"):
        pure.load_balanced_view([0]).apply_async(abs, -1)


@row("2.3-pure-dependent")
def test_the_scheme_pure_warns_of_a_dependent_function(pure):
    lv = pure.load_balanced_view()
    with pytest.warns(RuntimeWarning, match="'pure': what abs depends on") as caught:
        assert lv.apply_sync(ipp.dependent(abs, bool, True), -1) == 1
    assert caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="'pure'"):
        lv.map_async(ipp.dependent(abs, bool, True), [-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lv.apply_sync(abs, -1)


@row("2.3-closed")
def test_a_closed_client_farms_no_tasks(fake):
    with ipp.Client(fake.file, transport=fake.transport) as rc:
        lv = rc.load_balanced_view()
    with pytest.raises(RuntimeError, match="closed"):
        lv.apply_async(abs, -1)
    with pytest.raises(RuntimeError, match="closed"):
        lv.map_async(abs, [-1])
