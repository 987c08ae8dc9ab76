"""Functions that must arrive whole: source as typed into a notebook, that defines ``f``."""

from __future__ import annotations

import textwrap
from typing import Any, NamedTuple


class Case(NamedTuple):
    name: str
    source: str
    args: tuple[Any, ...]
    expected: Any


def case(name: str, source: str, *args: Any, expected: Any) -> Case:
    return Case(name, textwrap.dedent(source), args, expected)


CASES = [
    case("a lambda", "f = lambda x: x + 1", 1, expected=2),
    case("a helper", "def g(x): return x + 1\ndef f(x): return g(x)", 1, expected=2),
    case("a module", "import math as m\ndef f(x): return m.sqrt(x)", 4, expected=2.0),
    case(
        "a submodule reached as attribute",
        "import xml.dom.minidom\ndef f(): return xml.dom.minidom.Document.__name__",
        expected="Document",
    ),
    case(
        "a name imported from a module",
        "from collections import Counter\ndef f(x): return Counter(x).most_common(1)",
        "aab",
        expected=[("a", 2)],
    ),
    case("an import inside", "def f():\n import json\n return json.dumps(1)", expected="1"),
    case(
        "a closure",
        "def make(n):\n def f(x): return x + n\n return f\nf = make(2)",
        1,
        expected=3,
    ),
    case(
        "closures that share a variable",
        """
        def make():
            count = 0
            def up():
                nonlocal count
                count += 1
            def get(): return count
            return up, get
        up, get = make()
        f = lambda pair: (pair[0](), pair[0](), pair[1]())[2]
        pair = make()
        f.__defaults__ = (pair,)
        """,
        expected=2,
    ),
    case(
        "an empty closure variable",
        """
        def make():
            def f():
                try:
                    return late
                except NameError:
                    return "empty"
            return f
            late = 1
        f = make()
        """,
        expected="empty",
    ),
    case("recursion", "def f(n): return n * f(n - 1) if n else 1", 5, expected=120),
    case(
        "mutual recursion",
        """
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        f = even
        """,
        10,
        expected=True,
    ),
    case(
        "recursion in a closure",
        """
        def make():
            def f(n): return n * f(n - 1) if n else 1
            return f
        f = make()
        """,
        5,
        expected=120,
    ),
    case(
        "a decorator with wraps",
        """
        import functools
        def twice(g):
            @functools.wraps(g)
            def inner(*a): return 2 * g(*a)
            return inner
        @twice
        def f(x):
            "Doc."
            return x + 1
        """,
        1,
        expected=4,
    ),
    case(
        "lru_cache, recursive",
        """
        from functools import lru_cache
        @lru_cache(maxsize=None)
        def f(n): return n if n < 2 else f(n - 1) + f(n - 2)
        """,
        30,
        expected=832040,
    ),
    case(
        "a partial as helper",
        "from functools import partial\np = partial(int, base=2)\ndef f(x): return p(x)",
        "101",
        expected=5,
    ),
    case("defaults", "def f(x, y=[1, 2], *, z=3): return x, y, z", 0, expected=(0, [1, 2], 3)),
    case("annotations", "def f(x: list[int]) -> 'int': return sum(x)", [1, 2], expected=3),
    case(
        "a type variable",
        """
        from typing import TypeVar, cast
        T = TypeVar("T", bound=int)
        V = list[T]
        def f(x: T) -> T: return cast(V, x)
        """,
        1,
        expected=1,
    ),
    case(
        "a generator",
        "def g(n): yield from range(n)\ndef f(n): return list(g(n))",
        3,
        expected=[0, 1, 2],
    ),
    case(
        "a comprehension's names",
        "def g(x): return -x\ndef f(n): return [g(i) for i in range(n)]",
        2,
        expected=[0, -1],
    ),
    case(
        "a class and its methods",
        """
        def scale(x): return 10 * x
        class A:
            factor = 3
            def __init__(self, x): self.x = x
            def get(self): return scale(self.x) * self.factor
            @property
            def double(self): return 2 * self.x
            @staticmethod
            def s(x): return scale(x)
            @classmethod
            def c(cls, x): return cls(x).get()
        def f(x): return A(x).get(), A(x).double, A.s(x), A.c(x)
        """,
        1,
        expected=(30, 2, 10, 30),
    ),
    case(
        "inheritance and super",
        """
        class A:
            def get(self): return 1
        class B(A):
            def get(self): return super().get() + 1
        def f(): return B().get()
        """,
        expected=2,
    ),
    case(
        "a class body that uses a helper",
        "def g(): return 5\ndef f():\n class C:\n  x = g()\n return C.x",
        expected=5,
    ),
    case(
        "a bound method",
        """
        class A:
            def __init__(self): self.x = 1
            def get(self, y): return self.x + y
        f = A().get
        """,
        1,
        expected=2,
    ),
    case(
        "a dataclass",
        """
        from dataclasses import dataclass, field
        @dataclass(order=True)
        class P:
            x: int
            y: list = field(default_factory=list)
        def f(x): return P(x) < P(x + 1), P(x).y
        """,
        1,
        expected=(True, []),
    ),
    case(
        "a frozen slotted dataclass",
        """
        from dataclasses import dataclass
        @dataclass(frozen=True, slots=True)
        class P:
            x: int
        def f(x): return P(x).x, hash(P(x)) == hash(P(x))
        """,
        1,
        expected=(1, True),
    ),
    case(
        "an enum",
        """
        from enum import Enum
        class Color(Enum):
            RED = 1
            def low(self): return self.name.lower()
        def f(): return Color(1).low(), Color.RED is Color["RED"]
        """,
        expected=("red", True),
    ),
    case(
        "a named tuple",
        """
        from typing import NamedTuple
        class P(NamedTuple):
            x: int
            y: int = 2
        def f(): return P(1).y
        """,
        expected=2,
    ),
    case(
        "an abstract class",
        """
        from abc import ABC, abstractmethod
        class A(ABC):
            @abstractmethod
            def get(self): ...
        class B(A):
            def get(self): return 1
        def f():
            try:
                A()
            except TypeError:
                return B().get()
        """,
        expected=1,
    ),
    case(
        "an own exception",
        """
        class E(Exception):
            pass
        def f():
            try:
                raise E(3)
            except E as e:
                return e.args
        """,
        expected=(3,),
    ),
    case(
        "a context manager",
        """
        from contextlib import contextmanager
        @contextmanager
        def cm():
            yield 7
        def f():
            with cm() as x:
                return x
        """,
        expected=7,
    ),
    case(
        "a callable object",
        """
        class Add:
            def __init__(self, n): self.n = n
            def __call__(self, x): return x + self.n
        f = Add(2)
        """,
        1,
        expected=3,
    ),
    case(
        "a class redefined",
        "class A:\n x = 1\nold = A()\nclass A:\n x = 2\ndef f(a=old): return a.x, A.x",
        expected=(1, 2),
    ),
    case("a builtin", "f = sorted", [2, 1], expected=[1, 2]),
    case("a method of a builtin type", "f = str.upper", "a", expected="A"),
    case(
        "a helper called like a builtin",
        "def sum(x): return 'own'\ndef f(x): return sum(x)",
        [1],
        expected="own",
    ),
    case(
        "a data-free global statement",
        "def f():\n global made\n made = 1\n return made",
        expected=1,
    ),
]
