"""Which processes see the same shared memory."""

from __future__ import annotations

import os

import pytest

from ipyviews.engine import segments


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Segments as files of another folder."""
    monkeypatch.setattr(segments, "FOLDER", tmp_path)
    return tmp_path


def test_a_place_is_told_by_its_folder(folder, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(segments, "place", segments.place.__wrapped__)
    here = segments.place()
    assert here == segments.place()
    monkeypatch.setattr(segments, "FOLDER", tmp_path_factory.mktemp("elsewhere"))
    assert segments.place() not in ("", here)


@pytest.mark.parametrize("what", ["no folder", "not writable"])
def test_where_nothing_can_be_shared_there_is_no_place(folder, monkeypatch, what):
    monkeypatch.setattr(segments, "place", segments.place.__wrapped__)
    if what == "no folder":
        monkeypatch.setattr(segments, "FOLDER", folder / "missing")
    else:
        monkeypatch.setattr(os, "access", lambda *_: False)
    assert segments.place() == ""
