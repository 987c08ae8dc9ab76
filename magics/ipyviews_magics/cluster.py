"""``%ipyviews``: the cluster of the magics without a suffix, from a cell."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand

from ipyviews_magics.px import as_usage_error
from ipyviews_magics.targets import parse_targets
from ipyviews_magics.waiting import name_engines

if TYPE_CHECKING:
    from ipyviews import Client
    from ipyviews_magics.default import DefaultView

FORMS = (
    "%ipyviews start [-n ENGINES] [--kernel NAME] | status | stop | "
    "restart [TARGETS] [--now] [--no-setup]"
)


class ClusterMagic:
    """The line magic.

    Parameters
    ----------
    default
        The view whose cluster it speaks of.
    """

    def __init__(self, default: DefaultView) -> None:
        self._default = default
        self._parser = _parser(self)

    @no_var_expand
    def run(self, line: str) -> object:
        """Start, show, stop the cluster, or restart some of its engines."""
        words = shlex.split(line)
        if not words:
            raise UsageError(f"Say {FORMS}.")
        options = self._parser.parse_args(words)
        with as_usage_error():
            return options.command(options)

    def start(self, options: argparse.Namespace) -> None:
        """Start a cluster for this notebook."""
        client = self._default.client
        if client is not None:
            raise UsageError(
                f"the cluster {client.cluster_id!r} with {_count(client)} is in use: "
                "%ipyviews stop ends it, rc.start_engines(n) adds to it."
            )
        self._default.start(options.n, options.kernel)

    def status(self, _: argparse.Namespace) -> object:
        """Show the engines; starts nothing."""
        client = self._default.find()
        if client is None:
            print("No cluster is running: %ipyviews start -n 4 starts one, the first %%px too.")
            return None
        return client.table()

    def stop(self, _: argparse.Namespace) -> None:
        """End the cluster with its engines, whoever started it."""
        client = self._default.find()
        if client is None:
            print("No cluster is running.")
            return
        name = client.cluster_id
        self._default.stop()
        print(f"Stopped the cluster {name!r}.")

    def restart(self, options: argparse.Namespace) -> None:
        """Restart engines in place; they lose their variables and run their set-up cells."""
        client = self._default.find()
        if client is None:
            raise UsageError("no cluster is running: there is nothing to restart.")
        known = sorted(client.connection.engines)
        targets = parse_targets(options.targets, known)
        client.restart(targets, now=options.now, setup=options.setup)
        chosen = known if targets == "all" else [targets] if isinstance(targets, int) else targets
        print(f"Restarted {name_engines(chosen)}.")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; say {FORMS}.")


def _parser(magic: ClusterMagic) -> argparse.ArgumentParser:
    top = _Parser(prog="%ipyviews", add_help=False)
    commands = top.add_subparsers(required=True, metavar="command", parser_class=_Parser)
    one = commands.add_parser("start", add_help=False)
    one.set_defaults(command=magic.start)
    one.add_argument("-n", type=_positive)
    one.add_argument("--kernel")
    commands.add_parser("status", add_help=False).set_defaults(command=magic.status)
    commands.add_parser("stop", add_help=False).set_defaults(command=magic.stop)
    one = commands.add_parser("restart", add_help=False)
    one.set_defaults(command=magic.restart)
    one.add_argument("targets", nargs="?", default="all")
    one.add_argument("--now", action="store_true")
    one.add_argument("--no-setup", dest="setup", action="store_false")
    return top


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"say how many engines, 1 or more, not {text!r}")
    return number


def _count(client: Client) -> str:
    return f"{len(client)} engine{'' if len(client) == 1 else 's'}"
