import json
import subprocess
import sys
from pathlib import Path

import pytest

import ipyviews
from ipyviews import cli
from ipyviews.errors import ClusterError


def ipyviews_command(*words, timeout=90):
    return subprocess.run(
        [sys.executable, "-m", "ipyviews", *words],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"ipyviews {ipyviews.__version__}\n"


@pytest.mark.parametrize(
    "words", [[], ["fly"], ["start", "-n", "0"], ["start", "-n", "many"], ["list", "-o", "xml"]]
)
def test_what_is_not_a_command_is_refused(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("usage: ipyviews")


def test_without_clusters_the_list_says_so(capsys):
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == "no cluster is running\n"
    assert cli.main(["list", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.main(["stop", "--all"]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["status"], "no cluster is running; start one with `ipyviews start`"),
        (["status", "mine"], "no cluster named 'mine' is running; start one with"),
        (["stop"], "no cluster is running; start one with `ipyviews start`"),
        (["stop", "mine"], "no cluster named 'mine' is running; start one with"),
        (["stop", "mine", "--all"], "say names or --all, not both."),
        (["start", "--cluster-id", "a b"], "cluster_id 'a b' must be"),
        (["start", "-n", "3", "--kernel", "a", "--kernel", "b"], "2 kernels were named for 3"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words, sentence, capsys):
    assert cli.main(words) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"ipyviews: {sentence}")
    assert written.err.count("\n") == 1


def test_an_interrupt_is_no_traceback(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "list_clusters", interrupted)
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "ipyviews: interrupted\n"


def test_a_table_has_a_heading_and_aligned_columns(capsys):
    rows = [{"id": 0, "state": "live"}, {"id": 11, "state": None}]
    cli.show(rows, ["id", "state"], "text", "none")
    assert capsys.readouterr().out == "id  state\n0   live\n11  -\n"


@pytest.mark.kernels
def test_a_started_cluster_is_listed_used_by_others_and_stopped(run_root):
    started = ipyviews_command("start", "-n", "2", "--cluster-id", "mine", "--restart", "3")
    assert started.returncode == 0, started.stderr
    assert started.stdout == (
        "2 engines started: connect with ipyviews.Client(cluster_id='mine'), "
        "stop with `ipyviews stop mine`\n"
    )
    again = ipyviews_command("start", "-n", "1", "--cluster-id", "mine")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == (
        "ipyviews: a cluster named 'mine' is running already; stop it, or give this one another "
        "cluster id.\n"
    )

    (row,) = json.loads(ipyviews_command("list", "-o", "json").stdout)
    assert (row["id"], row["engines"]) == ("mine", 2)
    config = json.loads((Path(row["folder"]) / "config.json").read_text())
    assert config["restart"] == [3, 60.0]
    status = ipyviews_command("status").stdout.splitlines()
    assert [line.split()[:2] for line in status[1:]] == [["0", "live"], ["1", "live"]]
    with ipyviews.Client(cluster_id="mine") as client:
        assert client[:].apply_sync(lambda: 6 * 7) == [42, 42]

    stopped = ipyviews_command("stop", "mine")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped 'mine'\n")
    assert not Path(row["folder"]).exists()
    with pytest.raises(ClusterError):
        ipyviews.Client()


@pytest.mark.kernels
def test_the_default_cluster_is_the_one_that_is_found(run_root):
    started = ipyviews_command("start", "-n", "1", "--kernel", "python3")
    assert started.stdout == (
        "1 engine started: connect with ipyviews.Client(), stop with `ipyviews stop`\n"
    )
    with ipyviews.Client() as client:
        assert client.ids == [0]
    assert ipyviews_command("stop").stdout == "stopped 'default'\n"


@pytest.mark.kernels
def test_an_unknown_kernel_leaves_nothing_behind(run_root):
    started = ipyviews_command("start", "-n", "1", "--kernel", "nosuchkernel")
    assert (started.returncode, started.stdout) == (1, "")
    assert "nosuchkernel" in started.stderr
    assert "Traceback" not in started.stderr
    assert ipyviews_command("list").stdout == "no cluster is running\n"


@pytest.mark.kernels
@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_demo_reads_the_whole_library(run_root):
    ran = ipyviews_command("demo", timeout=280)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "The totals are those of a plain local run." in ran.stdout
