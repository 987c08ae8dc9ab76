"""A coverage-guided fuzzer for every decoder; the long form of the tests runs it.

It needs atheris (``pip install atheris``; not for every Python)::

    python tests/chaos/fuzz_messages.py -runs=170000 <folder>     # six messages a run
    python tests/chaos/fuzz_messages.py crash-…                   # repeats what it found
    python tests/chaos/fuzz_messages.py -merge=1 <new> <folder>   # takes those that are needed
    python tests/chaos/fuzz_messages.py --keep <new>              # writes corpus.txt anew

The folder is where inputs are that reach more code than others; it begins with those of
``corpus.txt``, which the tests of S3 try, too. They are choices of a `Mill`: when it learns a
message or a field, they mean something else, and are to be made anew by these four.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["ipyviews"]):
    from tests.security.decoders import CORPUS, Decoders, make_engine


def unpack(folder: Path) -> None:
    """Put the inputs that are kept into a folder."""
    for number, line in enumerate(CORPUS.read_text("ascii").split()):
        (folder / f"kept-{number}").write_bytes(bytes.fromhex(line))


def keep(folder: Path) -> None:
    """Keep the inputs of a folder."""
    lines = sorted({path.read_bytes().hex() for path in folder.iterdir()}, key=len)
    CORPUS.write_text("\n".join(lines) + "\n", "ascii")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--keep"]:
        keep(Path(sys.argv[2]))
        sys.exit()
    if not any(word.startswith("-merge") for word in sys.argv):
        for name in filter(lambda word: Path(word).is_dir(), sys.argv[1:]):
            unpack(Path(name))
    # By its first word it runs itself again to merge.
    atheris.Setup([f"{sys.executable} {__file__}", *sys.argv[1:]], Decoders(make_engine()).take)
    atheris.Fuzz()
