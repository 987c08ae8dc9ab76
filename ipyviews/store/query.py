"""The query language for records. Pure.

A query is a dict: key to value, or key to ``{operator: operand}``. All of its conditions must hold.
A record has every key; one that has no value there is None, and None is neither less nor greater
than anything.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from ipyviews.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Test = Callable[[Any, Any], bool]

#: Every key of a record.
KEYS = (
    "msg_id",
    "header",
    "metadata",
    "content",
    "buffers",
    "submitted",
    "client_uuid",
    "engine_uuid",
    "started",
    "completed",
    "resubmitted",
    "received",
    "result_header",
    "result_metadata",
    "result_content",
    "result_buffers",
    "queue",
    "execute_input",
    "execute_result",
    "error",
    "stdout",
    "stderr",
    "outputs",
    "label",
    "status",
)

#: Keys whose values are times: timezone-aware datetimes.
TIMES = frozenset({"submitted", "started", "completed", "received"})

#: Keys whose values are bytes, not sent unless asked for.
BUFFERS = frozenset({"buffers", "result_buffers"})


def _ordered(compare: Test) -> Test:
    def test(value: Any, operand: Any) -> bool:
        try:
            return bool(compare(value, operand))
        except TypeError:
            # A number and a text, or None: neither is less.
            return False

    return test


def _glob(value: Any, pattern: str) -> bool:
    return isinstance(value, str) and fnmatchcase(value, pattern)


def _has_all(value: Any, wanted: Iterable[Any]) -> bool:
    return isinstance(value, list | tuple) and all(one in value for one in wanted)


def _mod(value: Any, operand: tuple[int, int]) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and value % operand[0] == operand[1]


OPERATORS: dict[str, Test] = {
    "$lt": _ordered(operator.lt),
    "$gt": _ordered(operator.gt),
    "$lte": _ordered(operator.le),
    "$gte": _ordered(operator.ge),
    "$eq": operator.eq,
    "$ne": operator.ne,
    "$in": lambda value, operand: value in operand,
    "$nin": lambda value, operand: value not in operand,
    "$glob": _glob,
    "$all": _has_all,
    "$mod": _mod,
    "$exists": lambda value, wanted: (value is not None) == wanted,
}

_LISTS = frozenset({"$in", "$nin", "$all"})


class Condition(NamedTuple):
    """One test of one key."""

    key: str
    test: Test
    operand: Any


class Query:
    """A query, checked once, for any number of records.

    Parameters
    ----------
    check
        The dict. In conditions on times, datetimes (naive ones are local time) or ISO 8601 texts.

    Raises
    ------
    UsageError
        It is not a query: the sentence names the key or operator.

    Examples
    --------
    >>> query = Query({"queue": "task", "label": {"$glob": "a*", "$ne": "ab"}})
    >>> query.matches({"queue": "task", "label": "abc"}.get)
    True
    >>> query.matches({"queue": "task", "label": "ab"}.get)
    False
    """

    def __init__(self, check: Mapping[str, Any]) -> None:
        if not isinstance(check, Mapping):
            raise UsageError(f"a query is a dict of conditions by key, not {_type(check)}")
        self.conditions = [
            condition for key, value in check.items() for condition in _conditions(key, value)
        ]

    def names(self) -> list[str] | None:
        """Return the only tasks that can match, if the query names them."""
        for key, test, operand in self.conditions:
            if key == "msg_id" and test is operator.eq:
                return [operand] if isinstance(operand, str) else []
            if key == "msg_id" and test is OPERATORS["$in"]:
                return [name for name in operand if isinstance(name, str)]
        return None

    def matches(self, get: Callable[[str], Any]) -> bool:
        """Tell whether a record, whose values `get` returns by key, meets all conditions."""
        return all(test(get(key), operand) for key, test, operand in self.conditions)


def parse_keys(keys: Any) -> tuple[str, ...]:
    """Return the keys that a query asks for, ``msg_id`` among them.

    Parameters
    ----------
    keys
        A key, several, or None for everything but buffers.

    Raises
    ------
    UsageError
        Naming one that is none.
    """
    if keys is None:
        return tuple(key for key in KEYS if key not in BUFFERS)
    chosen = [keys] if isinstance(keys, str) else keys
    if not isinstance(chosen, list | tuple | set | frozenset):
        raise UsageError(f"`keys` is a key of a record or a list of them, not {_type(keys)}")
    for key in chosen:
        _check_key(key)
    return tuple(dict.fromkeys(("msg_id", *chosen)))


def read_time(text: str) -> datetime | None:
    """Return the time of an ISO 8601 text; one without a zone is UTC. None if it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _conditions(key: Any, value: Any) -> list[Condition]:
    _check_key(key)
    if not _is_operators(value):
        return [Condition(key, operator.eq, _operand(key, value))]
    return [_condition(key, name, operand) for name, operand in value.items()]


def _is_operators(value: Any) -> bool:
    return isinstance(value, Mapping) and any(str(name).startswith("$") for name in value)


def _condition(key: str, name: str, operand: Any) -> Condition:
    test = OPERATORS.get(name)
    if test is None:
        raise UsageError(f"a query knows no operator {name!r}; it knows {', '.join(OPERATORS)}")
    if name in _LISTS:
        if not isinstance(operand, list | tuple | set | frozenset):
            raise UsageError(f"{name} in the query of {key!r} takes a list, not {_type(operand)}")
        return Condition(key, test, [_operand(key, one) for one in operand])
    if name == "$mod":
        return Condition(key, test, _check_mod(key, operand))
    if name == "$exists":
        return Condition(key, test, bool(operand))
    if name == "$glob":
        if not isinstance(operand, str):
            raise UsageError(f"$glob in the query of {key!r} takes a text, not {_type(operand)}")
        return Condition(key, test, operand)
    return Condition(key, test, _operand(key, operand))


def _operand(key: str, value: Any) -> Any:
    if key not in TIMES or value is None:
        return value
    if isinstance(value, str) and (time := read_time(value)) is not None:
        return time
    if isinstance(value, datetime):
        return value if value.tzinfo else value.astimezone()
    raise UsageError(f"{key!r} is a time: compare it with a datetime, not with {value!r}")


def _check_mod(key: str, operand: Any) -> tuple[int, int]:
    is_pair = isinstance(operand, list | tuple) and len(operand) == 2
    if not is_pair or not all(type(number) is int for number in operand) or not operand[0]:
        raise UsageError(f"$mod in the query of {key!r} takes [divisor, remainder], divisor not 0")
    return operand[0], operand[1]


def _check_key(key: Any) -> None:
    if key not in KEYS:
        raise UsageError(f"a record has no key {key!r}; it has {', '.join(KEYS)}")


def _type(value: Any) -> str:
    return type(value).__name__
