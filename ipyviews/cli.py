"""The command ``ipyviews``: start, stop, list and look at clusters of this machine.

Exit codes: 0 done; 1 it could not be done, for a reason given in one sentence; 2 the command line
is not understood; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

from ipyviews.client.client import Client
from ipyviews.cluster import Cluster
from ipyviews.errors import IPyViewsError, UsageError
from ipyviews.launching.rundir import find_cluster, list_clusters
from ipyviews.launching.start import end_cluster
from ipyviews.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Longest time for a cluster to be gone after it was told to stop [s].
STOPPING_S = 15.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments
        The words behind ``ipyviews``; those of this process if None.

    Returns
    -------
    int
        The exit code.
    """
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        print("ipyviews: interrupted", file=sys.stderr)
        return 130
    except (IPyViewsError, TimeoutError) as error:
        print(f"ipyviews: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = argparse.ArgumentParser(
        prog="ipyviews", description="Start, stop, list and look at clusters."
    )
    top.add_argument("--version", action="version", version=f"ipyviews {__version__}")
    commands = top.add_subparsers(required=True, metavar="command")

    one = commands.add_parser("start", help="start a cluster that runs until it is stopped")
    one.set_defaults(command=start)
    one.add_argument("-n", type=_count, help="number of engines (default: one per core)")
    one.add_argument("--cluster-id", default="default", metavar="ID", help="its name (%(default)s)")
    one.add_argument(
        "--kernel",
        action="append",
        metavar="NAME",
        help="kernelspec of the engines; say it once, or once for each engine",
    )
    one.add_argument(
        "--idle-limit",
        type=_seconds,
        metavar="SECONDS",
        help="end by itself after so long without a client",
    )
    again = "start each engine that dies again, at most so often in a minute"
    one.add_argument("--restart", type=_count, metavar="TIMES", help=again)

    one = commands.add_parser("stop", help="stop clusters")
    one.set_defaults(command=stop)
    one.add_argument("ids", nargs="*", metavar="ID", help='names of clusters (default: "default")')
    one.add_argument("--all", action="store_true", help="all clusters of this user")

    one = commands.add_parser("list", help="list the running clusters")
    one.set_defaults(command=show_list)
    one.add_argument("-o", "--output", choices=["text", "json"], default="text", help="%(default)s")

    one = commands.add_parser("status", help="list the engines of a cluster")
    one.set_defaults(command=status)
    one.add_argument("id", nargs="?", metavar="ID", help="its name (default: the one that runs)")
    one.add_argument("-o", "--output", choices=["text", "json"], default="text", help="%(default)s")

    one = commands.add_parser("demo", help="four engines read the standard library")
    one.set_defaults(command=demo)
    return top


def start(options: argparse.Namespace) -> int:
    """Start a detached cluster and return when its engines are up."""
    kernels: list[str] = options.kernel or []
    cluster = Cluster(
        n=options.n,
        cluster_id=options.cluster_id,
        kernel=kernels[0] if len(kernels) == 1 else kernels,
        detached=True,
        idle_limit=options.idle_limit,
        restart=options.restart,
    )
    with cluster.start_and_connect_sync() as client:
        count = len(client)
    name = options.cluster_id
    connect, stop_it = ("", "") if name == "default" else (f"cluster_id={name!r}", f" {name}")
    print(
        f"{count} engine{'s' * (count != 1)} started: connect with ipyviews.Client({connect}), "
        f"stop with `ipyviews stop{stop_it}`"
    )
    return 0


def stop(options: argparse.Namespace) -> int:
    """Stop clusters and wait until nothing is left of them."""
    if options.all and options.ids:
        raise UsageError("say names or --all, not both.")
    chosen = list_clusters() if options.all else [find_cluster(one) for one in options.ids]
    if not options.all and not options.ids:
        chosen = [find_cluster(anybodys=True)]
    for file in chosen:
        end_cluster(file.folder, STOPPING_S)
        print(f"stopped {file.cluster_id!r}")
    return 0


def show_list(options: argparse.Namespace) -> int:
    """List the running clusters."""
    rows = [
        {"id": one.cluster_id, "engines": one.n, "pid": one.pid, "folder": str(one.folder)}
        for one in list_clusters()
    ]
    show(rows, ["id", "engines", "pid", "folder"], options.output, "no cluster is running")
    return 0


def status(options: argparse.Namespace) -> int:
    """List the engines of one cluster."""
    with Client(find_cluster(options.id, anybodys=True)) as client:
        rows = client.status()["engines"]
    columns = ["id", "state", "kernel", "implementation", "pid", "running", "queued"]
    show(rows, columns, options.output, "the cluster has no engines")
    return 0


def demo(_: argparse.Namespace) -> int:
    """Run the demo."""
    # It shows the magics, a layer above this one.
    code: int = importlib.import_module("ipyviews.demo").main()
    return code


def show(rows: list[dict[str, Any]], columns: list[str], output: str, empty: str) -> None:
    """Print rows as JSON, or as a table with a heading."""
    if output == "json":
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(empty)
        return
    lines = [columns] + [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"say how many engines, 1 or more, not {text!r}")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise argparse.ArgumentTypeError(f"say a number of seconds above 0, not {text!r}")
    return number
