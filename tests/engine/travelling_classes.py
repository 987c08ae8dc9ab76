"""Classes that must arrive whole with the function ``f`` that uses them; see `travellers`."""

from __future__ import annotations

from tests.engine.travellers import case

CASES = [
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
        "slots",
        """
        class A:
            __slots__ = ("x", "__y")
            def __init__(self): self.x, self.__y = 1, 2
            def y(self): return self.__y
        class B(A):
            __slots__ = ("z",)
        def f():
            b = B()
            b.z = 3
            return b.x, b.y(), b.z, hasattr(b, "__dict__")
        """,
        expected=(1, 2, 3, False),
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
    case(
        "a partial method",
        """
        from functools import partialmethod
        class A:
            def m(self, a, b): return a, b
            one = partialmethod(m, 1)
        def f(): return A().one(2)
        """,
        expected=(1, 2),
    ),
    case(
        "a single dispatch method",
        """
        from functools import singledispatchmethod
        class A:
            @singledispatchmethod
            def g(self, x): return "any"
            @g.register
            def _(self, x: int): return "int"
        def f(x): return A().g(x), A().g("a")
        """,
        1,
        expected=("int", "any"),
    ),
    case(
        "a cached property",
        """
        from functools import cached_property
        class A:
            @cached_property
            def v(self): return [4]
        def f():
            a = A()
            return a.v is a.v
        """,
        expected=True,
    ),
    case(
        "a cached method",
        """
        import functools
        class A:
            @functools.lru_cache(maxsize=8)
            def m(self, x): return x * 2
        def f(x): return A().m(x)
        """,
        2,
        expected=4,
    ),
    case(
        "type hints that are resolved",
        "import typing\nclass A: pass\ndef f(x: 'A'): return typing.get_type_hints(f)['x'] is A",
        1,
        expected=True,
    ),
    case(
        "type hints of the notebook",
        "class A: pass\ndef f(x: A | None = None) -> list[A]: return f.__annotations__['return']()",
        expected=[],
    ),
    case(
        "a generic class",
        """
        from typing import Generic, TypeVar
        T = TypeVar("T")
        class Box(Generic[T]):
            def __init__(self, x: T): self.x = x
        def f(): return Box[int](3).x
        """,
        expected=3,
    ),
    case(
        "a protocol",
        """
        from typing import Protocol, runtime_checkable
        @runtime_checkable
        class P(Protocol):
            def m(self): ...
        class A:
            def m(self): pass
        def f(): return isinstance(A(), P), isinstance(1, P)
        """,
        expected=(True, False),
    ),
    case(
        "a new type",
        "from typing import NewType\nU = NewType('U', int)\ndef f(x: U): return U(x)",
        1,
        expected=1,
    ),
    case(
        "a flag and an int enum",
        """
        from enum import Flag, IntEnum, auto
        class A(IntEnum):
            X = 1
        class F(Flag):
            R = auto()
            W = auto()
        def f(): return A.X + 1, (F.R | F.W).value
        """,
        expected=(2, 3),
    ),
    case(
        "a metaclass",
        """
        class M(type):
            def hi(cls): return cls.__name__
        class A(metaclass=M): pass
        def f(): return A.hi()
        """,
        expected="A",
    ),
    case(
        "a descriptor",
        """
        class D:
            def __set_name__(self, owner, name): self.name = name
            def __get__(self, instance, owner): return self.name
        class A:
            v = D()
        def f(): return A().v
        """,
        expected="v",
    ),
    case(
        "a static method", "class A:\n @staticmethod\n def s(x): return x\nf = A.s", 1, expected=1
    ),
    case(
        "a class method",
        "class A:\n k = 2\n @classmethod\n def c(cls, x): return cls.k * x\nf = A.c",
        2,
        expected=4,
    ),
    case(
        "a class and a function that use each other",
        """
        class A:
            def go(self, n): return g(n - 1) if n else "A"
        def g(n): return A().go(n)
        f = g
        """,
        3,
        expected="A",
    ),
    case(
        "a helper decorated by a class",
        """
        class deco:
            def __init__(self, f): self.f = f
            def __call__(self, *a): return self.f(*a) + 1
        @deco
        def g(x): return x
        def f(x): return g(x)
        """,
        1,
        expected=2,
    ),
    case(
        "a match statement",
        """
        class P:
            __match_args__ = ("x",)
            def __init__(self, x): self.x = x
        def f(v):
            match P(v):
                case P(1): return "one"
                case P(x): return x
        """,
        1,
        expected="one",
    ),
]
