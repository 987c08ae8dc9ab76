"""Starting child processes by fork or by exec, and what is known of each."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ipyviews.launching.exits import TAIL_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

#: `prctl` option: which signal a process gets when its parent dies.
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
#: Exit code of a child whose command could not be run, as in a shell.
_CANNOT_RUN = 127
#: What a crash raises in itself: blocked, it would end a process without a word.
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}


@dataclass(frozen=True)
class Order:
    """A request for a process."""

    #: What its asker calls it.
    name: str
    argv: list[str]
    #: Its whole environment.
    env: dict[str, str]
    cwd: str | None = None
    #: True for what must not outlive the agent by a moment.
    dies_with_parent: bool = True


@dataclass
class Child:
    """One running child process, leader of its own session and process group."""

    order: Order
    pid: int
    #: "fork" or "exec".
    way: str
    #: The readable end of its stdout and stderr; None once it is closed.
    output: int | None = None
    tail: bytearray = field(default_factory=bytearray)
    started: float = field(default_factory=time.time)

    def read_output(self) -> bool:
        """Keep the last of what can be read now; False at the end of it."""
        while self.output is not None:
            try:
                chunk = os.read(self.output, 65536)
            except BlockingIOError:
                return True
            if not chunk:
                break
            self.tail += chunk
            del self.tail[:-TAIL_SIZE]
        return False

    def signal(self, signum: int) -> None:
        """Send a signal to the whole process group; not to be called once it was waited for."""
        try:
            os.killpg(self.pid, signum)
        except ProcessLookupError:
            # So young that it does not lead its group yet.
            os.kill(self.pid, signum)

    def sweep(self) -> None:
        """Kill what is left of the group of a process that was waited for."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class Forked(BaseException):
    """Raised in a forked child, to leave the agent's loop before its kernel starts."""

    def __init__(self, order: Order) -> None:
        super().__init__(order.name)
        self.order = order


def complaint(order: Order) -> str | None:
    """Say why a request cannot be fulfilled; None when it can be tried."""
    if order.cwd is not None and not Path(order.cwd).is_dir():
        return f"the folder {order.cwd} does not exist."
    if not order.argv or shutil.which(order.argv[0], path=order.env.get("PATH")) is None:
        return f"the program {order.argv[:1]} cannot be run."
    return None


def start_child(
    order: Order, *, fork: bool, umask: int, forget: Callable[[], None], log: int | None = None
) -> Child:
    """Start a process; in a forked kernel this never returns but raises `Forked`.

    Parameters
    ----------
    order
        What to run.
    fork
        True to go on as a copy of this process, False to run `order.argv`.
    umask
        The umask of the new process.
    forget
        Called in the child: lets go of every inherited socket without closing its number, so that
        no object closes a number that has meanwhile been given to something else.
    log
        Where stdout and stderr go; None for a pipe that the child record reads.
    """
    read, write = (None, log) if log is not None else _output_pipe()
    parent = os.getpid()
    try:
        pid = _fork()
    except OSError:
        if read is not None:
            os.close(read)
            os.close(write)
        raise
    if pid:
        if read is not None:
            os.close(write)
        return Child(order, pid, "fork" if fork else "exec", read)
    try:
        _enter_child(order, write, umask, parent, forget)
        if not fork:
            _exec(order)
    except BaseException as error:  # noqa: BLE001 - nothing may return into the parent's program
        os.write(2, f"{order.argv[0]} cannot be run: {error}\n".encode())
        os._exit(_CANNOT_RUN)
    raise Forked(order)


def _fork() -> int:
    """Fork; in the child all signals are blocked but those of crashes."""
    # Until it has handlers of its own, a signal to the child would be told to the parent's loop.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - _CRASHES)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _output_pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    return read, write


def _enter_child(
    order: Order, output: int, umask: int, parent: int, forget: Callable[[], None]
) -> None:
    os.setsid()
    if order.dies_with_parent and _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    _reset_signals()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    forget()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.umask(umask)
    os.environ.clear()
    os.environ.update(order.env)
    # Read when a kernel is executed; a forked one is told by an argument.
    os.environ["JPY_PARENT_PID"] = str(parent)
    if order.cwd is not None:
        os.chdir(order.cwd)
    time.tzset()


def _reset_signals() -> None:
    signal.set_wakeup_fd(-1)
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _exec(order: Order) -> NoReturn:
    # Python ignores it, and that lasts across exec; other programs expect the default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvpe(order.argv[0], order.argv, os.environ)  # noqa: S606 - no shell is wanted
