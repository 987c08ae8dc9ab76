from __future__ import annotations

import fnmatch
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipyviews.errors import UsageError
from ipyviews.store.query import KEYS, OPERATORS, Query, parse_keys, read_time

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(**values):
    """A record of some keys; the others are None."""
    return (dict.fromkeys(KEYS) | values).get


def matches(check, **values):
    return Query(check).matches(record(**values))


# -- the rows of the specification -----------------------------------------------------------


@pytest.mark.row("8.4-equal")
def test_a_value_alone_means_equality():
    assert matches({"label": "a"}, label="a")
    assert not matches({"label": "a"}, label="b")
    assert matches({"label": None})
    assert matches({"metadata": {"x": 1}}, metadata={"x": 1})
    assert matches({"outputs": []}, outputs=[])


@pytest.mark.row("8.4-several")
def test_all_conditions_must_hold_also_several_equalities():
    check = {"label": "a", "queue": "task", "status": "ok"}
    assert matches(check, label="a", queue="task", status="ok")
    for wrong in check:
        assert not matches(check, **(check | {wrong: "other"}))


@pytest.mark.row("8.4-several")
def test_several_conditions_on_one_key_must_all_hold():
    check = {"submitted": {"$gt": NOON, "$lte": NOON + timedelta(hours=1)}, "label": "a"}
    assert matches(check, submitted=NOON + timedelta(minutes=1), label="a")
    assert not matches(check, submitted=NOON, label="a")
    assert not matches(check, submitted=NOON + timedelta(hours=2), label="a")
    assert not matches(check, submitted=NOON + timedelta(minutes=1), label="b")


@pytest.mark.row("8.4-compare")
@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("$lt", [True, False, False]),
        ("$lte", [True, True, False]),
        ("$gt", [False, False, True]),
        ("$gte", [False, True, True]),
    ],
)
def test_comparisons(name, holds):
    found = [matches({"label": {name: "m"}}, label=label) for label in ("a", "m", "z")]
    assert found == holds


@pytest.mark.row("8.4-compare")
def test_none_and_other_types_are_neither_less_nor_greater():
    for name in ("$lt", "$lte", "$gt", "$gte"):
        assert not matches({"completed": {name: NOON}}, completed=None)
        assert not matches({"label": {name: 3}}, label="a")


@pytest.mark.row("8.4-eq-ne")
def test_eq_and_ne():
    assert matches({"label": {"$eq": "a"}}, label="a")
    assert not matches({"label": {"$eq": "a"}}, label=None)
    assert matches({"label": {"$ne": "a"}}, label=None)
    assert not matches({"label": {"$ne": "a"}}, label="a")


@pytest.mark.row("8.4-in-nin")
def test_in_and_nin_also_with_nothing_in_the_list():
    assert matches({"msg_id": {"$in": ["a", "b"]}}, msg_id="b")
    assert not matches({"msg_id": {"$in": []}}, msg_id="b")
    assert matches({"msg_id": {"$nin": []}}, msg_id="b")
    assert not matches({"msg_id": {"$nin": ["a", "b"]}}, msg_id="a")
    assert matches({"submitted": {"$in": [NOON]}}, submitted=NOON)


@pytest.mark.row("8.4-glob")
def test_glob_is_case_sensitive_and_needs_a_text():
    assert matches({"msg_id": {"$glob": "a*-?"}}, msg_id="abc-1")
    assert not matches({"msg_id": {"$glob": "A*"}}, msg_id="abc")
    assert not matches({"label": {"$glob": "*"}}, label=None)


@pytest.mark.row("8.4-all-mod-exists")
def test_all_mod_and_exists():
    assert matches({"outputs": {"$all": [1, 2]}}, outputs=[2, 3, 1])
    assert not matches({"outputs": {"$all": [1, 4]}}, outputs=[2, 3, 1])
    assert not matches({"outputs": {"$all": [1]}}, outputs=None)
    assert matches({"label": {"$mod": [3, 1]}}, label=7)
    assert not matches({"label": {"$mod": [3, 1]}}, label="7")
    assert matches({"completed": {"$exists": True}}, completed=NOON)
    assert matches({"completed": {"$exists": False}})
    assert not matches({"completed": {"$exists": True}})


@pytest.mark.row("8.4-unknown-operator")
@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        ({"label": {"$gtr": 1}}, r"no operator '\$gtr'; it knows \$lt"),
        ({"label": {"$gt": 1, "x": 2}}, "no operator 'x'"),
        ({"labels": "a"}, "no key 'labels'; it has msg_id"),
        ({"msg_id": {"$in": "abc"}}, r"\$in in the query of 'msg_id' takes a list, not str"),
        ({"label": {"$mod": [0, 1]}}, "divisor not 0"),
        ({"label": {"$mod": 3}}, r"takes \[divisor, remainder\]"),
        ({"label": {"$glob": 3}}, "takes a text, not int"),
        ({"submitted": {"$gt": 3}}, "'submitted' is a time"),
        ({"submitted": "yesterday"}, "is a time"),
        ([], "a query is a dict"),
    ],
)
def test_what_is_no_query_is_refused_with_one_sentence(check, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        Query(check)
    assert "\n" not in str(caught.value)


def test_times_compare_as_moments_whatever_their_zone():
    later = NOON.astimezone(timezone(timedelta(hours=5)))
    assert matches({"started": later}, started=NOON)
    assert matches({"started": {"$gte": "2026-03-01T13:00:00+01:00"}}, started=NOON)
    assert matches({"started": {"$gt": "2026-03-01T11:59:59Z"}}, started=NOON)
    local = NOON.astimezone().replace(tzinfo=None)
    assert matches({"started": local}, started=NOON)
    assert matches({"started": None})


def test_an_empty_query_matches_everything():
    assert matches({})


@pytest.mark.parametrize(
    ("check", "names"),
    [
        ({"msg_id": "a"}, ["a"]),
        ({"label": "x", "msg_id": {"$ne": "b", "$eq": "a"}}, ["a"]),
        ({"msg_id": {"$in": ["a", "b", 3]}}, ["a", "b"]),
        ({"msg_id": 3}, []),
        ({"msg_id": {"$glob": "a"}}, None),
        ({}, None),
    ],
)
def test_a_query_for_named_tasks_says_so(check, names):
    assert Query(check).names() == names


# -- keys and times ----------------------------------------------------------------------------


@pytest.mark.row("1.5-db-query-keys")
def test_keys_are_one_or_several_and_msg_id_is_always_there():
    assert parse_keys("label") == ("msg_id", "label")
    assert parse_keys(["label", "msg_id", "label"]) == ("msg_id", "label")
    assert set(KEYS) - set(parse_keys(None)) == {"buffers", "result_buffers"}


@pytest.mark.parametrize("keys", ["labels", ["label", "x"], 3, [3]])
def test_keys_there_are_not_are_refused(keys):
    with pytest.raises(UsageError):
        parse_keys(keys)


def test_a_text_is_a_time_or_is_not():
    assert read_time("2026-03-01T12:00:00Z") == read_time("2026-03-01T12:00:00") == NOON
    assert read_time("noon") is None


# -- against an oracle ---------------------------------------------------------------------------

values = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from(["", "a", "ab", "b"]))


def naive(name, value, operand):
    """What an operator means, written as plainly as can be."""
    same_type = value is not None and operand is not None and type(value) is type(operand)
    match name:
        case "$lt":
            return same_type and value < operand
        case "$lte":
            return same_type and (value < operand or value == operand)
        case "$gt":
            return same_type and not (value < operand or value == operand)
        case "$gte":
            return same_type and not value < operand
        case "$eq":
            return value == operand
        case "$ne":
            return value != operand
        case "$in":
            return any(value == one for one in operand)
        case "$nin":
            return not any(value == one for one in operand)
        case "$glob":
            return isinstance(value, str) and fnmatch.fnmatchcase(value, operand)
        case "$mod":
            return isinstance(value, int) and value % operand[0] == operand[1]
        case "$exists":
            return (value is not None) is operand
        case "$all":
            return isinstance(value, list) and all(one in value for one in operand)
    raise AssertionError(name)


def operands(name):
    if name in {"$in", "$nin", "$all"}:
        return st.lists(values, max_size=3)
    if name == "$mod":
        return st.tuples(st.sampled_from([-2, -1, 1, 2, 3]), st.integers(0, 2))
    if name == "$exists":
        return st.booleans()
    if name == "$glob":
        return st.sampled_from(["*", "a*", "?", "", "[ab]"])
    return values


conditions = st.one_of(
    values.map(lambda value: ("$eq", value, True)),
    *(operands(name).map(lambda operand, n=name: (n, operand, False)) for name in OPERATORS),
)
checks = st.dictionaries(
    st.sampled_from(["label", "stdout", "queue", "content"]), st.lists(conditions, min_size=1)
)


@given(
    wanted=checks,
    records=st.lists(
        st.fixed_dictionaries(
            {
                "label": values,
                "stdout": values,
                "queue": values,
                "content": st.one_of(values, st.lists(values, max_size=3)),
            }
        ),
        max_size=20,
    ),
)
def test_a_query_finds_exactly_what_a_naive_reading_of_it_finds(wanted, records):
    check, naively = {}, []
    for key, parts in wanted.items():
        if len(parts) == 1 and parts[0][2]:
            check[key] = parts[0][1]
            naively.append((key, "$eq", parts[0][1]))
        else:
            check[key] = {name: operand for name, operand, _ in parts}
            naively += [(key, name, operand) for name, operand in check[key].items()]
    query = Query(check)
    found = [one for one in records if query.matches(one.get)]
    expected = [
        one
        for one in records
        if all(naive(name, one[key], operand) for key, name, operand in naively)
    ]
    assert found == expected
