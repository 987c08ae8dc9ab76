"""How an engine died, as everybody is told it."""

from __future__ import annotations

import dataclasses
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Frames of a crash that are shown; `DeathReport.trace` has all. [count]
_FRAMES_SHOWN = 8


@dataclass(frozen=True)
class DeathReport:
    """How and why one life of an engine ended that nobody had asked to end.

    Its text is for people.
    """

    #: Which engine, and which of its lives: the first is 1.
    engine: int
    incarnation: int
    #: Its process, None if that is not known.
    pid: int | None
    #: When the controller heard of it.
    when: datetime
    #: Exit code, or minus the number of the signal.
    returncode: int
    #: In a word or two: ``exit``, ``killed``, ``terminated``, ``segmentation fault``, ``out of
    #: memory``, ``memory limit``, ``aborted``, ``bus error`` and the like.
    verdict: str
    #: For people: "segmentation fault (SIGSEGV)".
    sentence: str
    #: Whether its own code did it (an exit, a crash, too much memory), so that running the same
    #: code elsewhere would end another engine.
    self_inflicted: bool
    #: The task that it was running; None if there was none, or it cannot be told which of several.
    task: str | None = None
    #: The largest memory it ever held [bytes]; None if that is not known: with
    #: ``provisioner="plain"`` it is not where the controller once held more.
    peak_memory: int | None = None
    #: What its address space or its data were limited to [bytes]; None without a limit.
    memory_limit: int | None = None
    #: The last lines it wrote to stderr.
    stderr: tuple[str, ...] = ()
    #: Where its threads were when it crashed, as `faulthandler` tells; empty when it did not crash.
    trace: str = ""
    #: Whether the engine is started again by itself.
    restarted: bool = False

    @property
    def signal(self) -> str | None:
        """The signal that ended it, ``"SIGKILL"``; None if it exited."""
        if self.returncode >= 0:
            return None
        try:
            return signal.Signals(-self.returncode).name
        except ValueError:
            return f"signal {-self.returncode}"

    @property
    def exit_code(self) -> int | None:
        """What it exited with; None if a signal ended it."""
        return self.returncode if self.returncode >= 0 else None

    def __str__(self) -> str:
        lines = [f"engine {self.engine} (life {self.incarnation}): {self.sentence}"]
        lines.append(f"  when: {self.when.astimezone():%Y-%m-%d %H:%M:%S}, process {self.pid}")
        if self.task is not None:
            lines.append(f"  while it ran task {self.task}")
        if self.peak_memory is not None:
            limit = "" if self.memory_limit is None else f", limit {_mib(self.memory_limit)}"
            lines.append(f"  memory at most {_mib(self.peak_memory)}{limit}")
        if self.restarted:
            lines.append("  it is started again")
        for title, text in (("last on stderr", self.stderr), ("where it crashed", self._frames())):
            if text:
                lines += [f"  {title}:", *(f"    {line}" for line in text)]
        return "\n".join(lines)

    def _frames(self) -> list[str]:
        """Return the innermost frames of the thread that crashed."""
        _, _, current = self.trace.partition("Current thread ")
        frames, _, _ = current.partition("\n\n")
        return [line.strip() for line in frames.splitlines()[1 : _FRAMES_SHOWN + 1]]

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(str(self))

    def as_content(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**dataclasses.asdict(self), "when": self.when.timestamp()}

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> Self:
        """Make it from what `as_content` gave; what later versions add is left out."""
        known = {field.name for field in dataclasses.fields(cls)}
        told = {name: value for name, value in content.items() if name in known}
        told["when"] = datetime.fromtimestamp(told["when"], UTC)
        told["stderr"] = tuple(told.get("stderr", ()))
        return cls(**told)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
