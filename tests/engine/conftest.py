"""One kernel for the tests of a module that only use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engine.kernelbox import KernelBox

if TYPE_CHECKING:
    from collections.abc import Iterator


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
