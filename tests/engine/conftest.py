"""One kernel for the tests of a module that only use it; segments in a folder of the test."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

import pytest

from ipyviews.engine import segments
from ipyviews.engine.received import Receiver
from ipyviews.engine.sender import Sender
from tests.engine.kernelbox import KernelBox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def shared_box() -> Iterator[KernelBox]:
    with KernelBox("--ext=ipyviews.engine") as box:
        box.join()
        box.keep_calls()
        yield box


@pytest.fixture
def box(shared_box: KernelBox) -> KernelBox:
    """A joined engine; what other tests left in its namespace is cleared."""
    shared_box.execute("%reset -f")
    return shared_box


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Segments as files of another folder: what is there is ours."""
    monkeypatch.setattr(segments, "FOLDER", tmp_path)
    monkeypatch.setattr(segments, "room", lambda: 1 << 30)
    return tmp_path


@pytest.fixture
def own(folder: Path) -> Iterator[Sender]:
    """Who sends segments in that folder."""
    del folder
    one = Sender("c0ffee00", "me")
    yield one
    one.close()


@pytest.fixture
def news() -> deque[str]:
    """Threads in which the receiver had something to tell."""
    return deque()


@pytest.fixture
def receiver(news: deque[str]) -> Receiver:
    """Who maps segments."""
    return Receiver(lambda: news.append(threading.current_thread().name))
