"""A client of a fake controller."""

from __future__ import annotations

import pytest

from ipyviews.client.client import Client
from tests.client.fakes import FakeController


@pytest.fixture
def fake():
    """Two engines."""
    return FakeController()


@pytest.fixture
def rc(fake):
    """A client of `fake`."""
    with Client(fake.file, transport=fake.transport) as client:
        yield client


@pytest.fixture
def dv(rc):
    """All engines."""
    return rc[:]


@pytest.fixture
def lv(rc):
    """Whichever engine is free."""
    return rc.load_balanced_view()
