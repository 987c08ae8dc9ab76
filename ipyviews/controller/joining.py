"""How an engine joins: from a started kernel to one that answers on every channel.

No task is sent before it is proven that the engine's output arrives, and that its iopub socket
drops nothing. Each step has a time limit; the exit of the process ends the wait at once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipyviews.errors import ClusterError
from ipyviews.launching import bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ipyviews.controller.links import Link, Links
    from ipyviews.launching.bootstrap import EngineReport
    from ipyviews.protocol.wire import Message

log = logging.getLogger(__name__)

#: How long a kernel may take to start and answer [s].
START_LIMIT_S = 60.0

#: How long each later step may take [s]; a kernel that has answered once is quick.
STEP_LIMIT_S = 20.0

#: How long the set-up cells of an engine may take together [s]; clients wait longer for a restart.
SETUP_LIMIT_S = 600.0

_WITHOUT = "client.restart(setup=False) starts the engine without them"

#: Kernels without a welcome are asked this often until their status arrives [s]; slower each time.
ASK_AGAIN_S = 0.1
ASK_SLOWER = 1.1
ASK_SELDOM_S = 1.0


@dataclass(frozen=True, slots=True)
class Joined:
    """What is known of an engine that has joined."""

    language: str
    #: ``"cpython-3.11"``; None for languages other than Python.
    implementation: str | None
    #: As the kernel sees itself; None when it does not say.
    pid: int | None
    can_apply: bool
    #: Why a Python kernel takes no calls; empty otherwise.
    remark: str
    #: Whether it answers in subshells while its main thread computes.
    has_subshells: bool
    #: Its ``/dev/shm``; empty when it has none or takes no calls.
    place: str = ""
    #: Where its apply channel listens; empty when it takes no calls.
    apply_url: str = ""


class Joining:
    """The joining of one link.

    Parameters
    ----------
    links
        The sockets.
    link
        A kernel that was started and is not connected yet.
    setup
        Cells to run before anything else.
    """

    def __init__(self, links: Links, link: Link, setup: Sequence[str] = ()) -> None:
        self._links = links
        self._link = link
        self._setup = setup
        self._topic = f"ipv.{secrets.token_hex(8)}".encode()
        self._published = asyncio.Event()
        #: Whether the kernel runs cells of its users in this life.
        self.sets_up = False

    async def run(self) -> Joined:
        """Join.

        Raises
        ------
        ClusterError
            When the kernel is silent for too long, or ends.
        """
        kernel = self._link.kernel
        self._links.connect(self._link, "shell", kernel.url("shell"))
        self._links.connect(self._link, "control", kernel.url("control"))
        self._links.subscribe(self._link, kernel.url("iopub"), self._topic)
        info = await self._ask("kernel_info_request", {}, START_LIMIT_S)
        await self._prove_output("shell", STEP_LIMIT_S)
        language = str((info.get("language_info") or {}).get("name", "unknown"))
        has_subshells = "kernel subshells" in (info.get("supported_features") or ())
        report, remark = await self._extend() if language == "python" else (None, "")
        self.sets_up = bool(self._setup)
        await self._set_up()
        return Joined(
            language,
            report.python if report else None,
            report.pid if report else None,
            can_apply=report is not None,
            remark=remark,
            has_subshells=has_subshells,
            place=report.place if report else "",
            apply_url=report.apply_url if report else "",
        )

    async def again(self, joined: Joined) -> dict[str, Any]:
        """Join an engine that another controller had joined; it may be busy.

        It may also be stopped, or compute without ever letting go: however long that takes, it is
        not dead.

        Returns
        -------
        dict
            Its ``resume_reply``; empty when it takes no calls.

        Raises
        ------
        ClusterError
            When it ends.
        """
        kernel = self._link.kernel
        self._links.connect(self._link, "shell", kernel.url("shell"))
        self._links.connect(self._link, "control", kernel.url("control"))
        self._links.subscribe(self._link, kernel.url("iopub"), self._topic)
        # Its main thread may be at a cell for hours: nothing is asked on shell.
        await self._prove_output("control", None)
        if not joined.can_apply:
            return {}
        self._links.connect(self._link, "apply", joined.apply_url)
        return await self._ask("resume_request", {}, None, channel="apply")

    def heard(self, message: Message) -> None:
        """Take a message from iopub while the engine joins."""
        is_welcome = self._topic in message.idents
        if is_welcome or message.parent_id.startswith(self._link.prefix):
            self._published.set()

    async def _prove_output(self, channel: str, limit_s: float | None) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await self._ask_for_output(channel)
        except TimeoutError:
            raise ClusterError(f"its output did not arrive within {limit_s:.0f} s") from None
        assert self._link.sub is not None  # noqa: S101 - subscribed in run
        self._link.sub.unsubscribe(self._topic)

    async def _ask_for_output(self, channel: str) -> None:
        pause = ASK_AGAIN_S
        while not self._published.is_set():
            try:
                await asyncio.wait_for(self._published.wait(), pause)
            except TimeoutError:
                self._links.request(self._link, channel, "kernel_info_request", {})
                # They wait for one that is stopped.
                pause = min(pause * ASK_SLOWER, ASK_SELDOM_S)

    async def _extend(self) -> tuple[EngineReport | None, str]:
        """Load the extension, by source where it is not installed, and reach its channel.

        Returns
        -------
        tuple
            What it reports; or None, and why the kernel takes no calls.
        """
        for request in (bootstrap.probe_request, bootstrap.source_request):
            reply = await self._ask("execute_request", request(self._link.name), STEP_LIMIT_S)
            if (report := bootstrap.read_report(reply)) is not None:
                break
            log.info("engine %s: %s", self._link.name, bootstrap.refusal(reply))
        else:
            return None, f"it takes no calls, only cells: {bootstrap.refusal(reply)}"
        self._links.connect(self._link, "apply", report.apply_url)
        await self._ask("ping_request", {}, STEP_LIMIT_S, channel="apply")
        return report, ""

    async def _set_up(self) -> None:
        try:
            async with asyncio.timeout(SETUP_LIMIT_S):
                for number, code in enumerate(self._setup, 1):
                    await self._set_up_by(number, code)
        except TimeoutError:
            raise ClusterError(
                f"its {len(self._setup)} set-up cells took more than {SETUP_LIMIT_S:g} s; "
                f"{_WITHOUT}"
            ) from None

    async def _set_up_by(self, number: int, code: str) -> None:
        content = {"code": code, "silent": True, "store_history": False, "allow_stdin": False}
        reply = await self._ask("execute_request", content, None)
        if reply.get("status") != "ok":
            raise ClusterError(
                f"set-up cell {number} of {len(self._setup)} failed: "
                f"{reply.get('ename')}: {reply.get('evalue')}; {_WITHOUT}"
            )

    async def _ask(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        limit_s: float | None,
        *,
        channel: str = "shell",
    ) -> dict[str, Any]:
        _, answer = self._links.request(self._link, channel, msg_type, content)
        try:
            return (await asyncio.wait_for(answer, limit_s)).read()
        except TimeoutError:
            raise ClusterError(f"it did not answer a {msg_type} within {limit_s:.0f} s") from None
