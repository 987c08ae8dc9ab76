"""The settings a controller is given."""

from __future__ import annotations

import json

import pytest

from ipyviews.controller.config import read_config
from ipyviews.controller.main import main
from ipyviews.errors import UsageError

SETTINGS = {
    "cluster_id": "mine",
    "n": 3,
    "kernels": ["bash", None],
    "env": {"A": "1"},
    "cwd": "/",
    "provisioner": "plain",
    "detached": True,
    "version": "0.1.0",
}


def test_settings_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    config = read_config(tmp_path)
    assert (config.cluster_id, config.n, config.env, config.cwd) == ("mine", 3, {"A": "1"}, "/")
    assert config.agent is False
    assert [config.kernel(engine) for engine in range(3)] == ["bash", None, None]


def test_without_names_all_kernels_are_the_default(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | {"kernels": []}))
    assert read_config(tmp_path).kernel(5) is None


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"cluster_id": "x", "n": "many"}'])
def test_bad_settings_are_one_sentence(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json is not the settings of a cluster"):
        read_config(tmp_path)


def test_a_controller_without_settings_says_so_and_exits(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "config.json" in capsys.readouterr().err


def test_a_controller_without_a_folder_says_how_it_is_called(capsys):
    assert main([]) == 2
    assert "run folder" in capsys.readouterr().err
