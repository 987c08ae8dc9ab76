"""The settings a controller is given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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


def test_what_is_kept_is_a_setting(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    config = read_config(tmp_path)
    assert (config.keep_results, config.history_file) == (False, None)
    kept = SETTINGS | {"keep_results": True, "history_file": "/a/b.db"}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    config = read_config(tmp_path)
    assert (config.keep_results, config.history_file) == (True, Path("/a/b.db"))


def test_a_history_file_that_cannot_be_used_ends_the_controller_with_a_sentence(tmp_path):
    settings = SETTINGS | {"history_file": "/nowhere/b.db"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "ipyviews.controller", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("the history file /nowhere/b.db cannot be used")
    assert ended.stderr.count("\n") == 1


def test_without_names_all_kernels_are_the_default(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | {"kernels": []}))
    assert read_config(tmp_path).kernel(5) is None


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"cluster_id": "x", "n": "many"}'])
def test_bad_settings_are_one_sentence(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json is not the settings of a cluster"):
        read_config(tmp_path)


@pytest.mark.row("5-scheme-unknown")
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scheme": "fastest"}, "there is no scheme 'fastest'; there are leastload, lru, "),
        ({"prefetch": -1}, "prefetch must be at least 0, not -1"),
    ],
)
def test_settings_of_scheduling_that_there_are_not_are_refused(tmp_path, settings, sentence):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | settings))
    with pytest.raises(UsageError, match=sentence):
        read_config(tmp_path)


def test_without_a_word_calls_go_to_the_least_loaded_engine(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | {"scheme": None}))
    config = read_config(tmp_path)
    assert (config.scheme, config.prefetch) == ("leastload", 0)
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS | {"scheme": "lru", "prefetch": 3}))
    config = read_config(tmp_path)
    assert (config.scheme, config.prefetch) == ("lru", 3)


def test_a_controller_without_settings_says_so_and_exits(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert "config.json" in capsys.readouterr().err


def test_a_controller_without_a_folder_says_how_it_is_called(capsys):
    assert main([]) == 2
    assert "run folder" in capsys.readouterr().err
