"""Functions that must arrive whole: source as typed into a notebook, that defines ``f``.

Those with classes are in `travelling_classes`.
"""

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
    case(
        "an async function",
        "import asyncio\nasync def f(x):\n await asyncio.sleep(0)\n return x + 1",
        1,
        expected=2,
    ),
    case(
        "an async generator",
        """
        async def g(n):
            for i in range(n):
                yield i
        async def f(n): return [i async for i in g(n)]
        """,
        3,
        expected=[0, 1, 2],
    ),
    case(
        "an async context manager",
        """
        from contextlib import asynccontextmanager
        @asynccontextmanager
        async def cm(): yield 3
        async def f():
            async with cm() as x: return x
        """,
        expected=3,
    ),
    case(
        "a partial as function",
        "from functools import partial\ndef g(a, b, *, c): return a, b, c\nf = partial(g, 1, c=3)",
        2,
        expected=(1, 2, 3),
    ),
    case(
        "a partial of a partial of a lambda",
        "from functools import partial\nf = partial(partial(lambda *a, **k: (a, k), 1), x=2)",
        5,
        expected=((1, 5), {"x": 2}),
    ),
    case(
        "single dispatch",
        """
        from functools import singledispatch
        @singledispatch
        def g(x): return "any"
        @g.register
        def _(x: int): return "int"
        @g.register
        def _(x: list): return [g(item) for item in x]
        f = g
        """,
        [1, "a"],
        expected=["int", "any"],
    ),
    case(
        "functools.cache",
        "import functools\n@functools.cache\ndef f(x): return 2 * x",
        2,
        expected=4,
    ),
    case("a global lambda", "g = lambda x: x + 1\ndef f(x): return g(x)", 1, expected=2),
    case(
        "a submodule under an alias",
        "import collections.abc as c\ndef f(x): return isinstance(x, c.Sequence)",
        [1],
        expected=True,
    ),
    case(
        "numpy under an alias",
        "import numpy as np\nimport numpy.linalg as la\ndef f(): return float(la.norm(np.ones(4)))",
        expected=2.0,
    ),
    case("a ufunc", "import numpy as np\nf = np.add", 1, 2, expected=3),
    case("a method of a ufunc", "import numpy as np\nf = np.add.reduce", [1, 2], expected=3),
    case(
        "a vectorized function",
        "import numpy as np\ng = np.vectorize(lambda x: -x)\ndef f(x): return g(x).tolist()",
        [1, 2],
        expected=[-1, -2],
    ),
    case(
        "helpers of helpers",
        "def a(): return 1\ndef b(): return a() + 1\ndef c(): return b() + 1\ndef f(): return c()",
        expected=3,
    ),
    case(
        "a decorator with arguments",
        """
        import functools
        def times(n):
            def deco(g):
                @functools.wraps(g)
                def inner(*a): return n * g(*a)
                return inner
            return deco
        @times(3)
        def f(x): return x
        """,
        2,
        expected=6,
    ),
    case(
        "an item getter",
        "import operator\ng = operator.itemgetter(1)\ndef f(x): return g(x)",
        [1, 2],
        expected=2,
    ),
    case(
        "a bound method of a pattern",
        "import re\nm = re.compile('a+').match\ndef f(x): return m(x) is not None",
        "aa",
        expected=True,
    ),
    case("attributes of the function", "def f(): return f.count\nf.count = 7", expected=7),
    case(
        "a class made by type()", "A = type('A', (), {'x': 3})\ndef f(): return A().x", expected=3
    ),
]
