"""The warm image: a process with everything imported that a kernel needs, ready to be forked.

The controller is forked from it, too, when there is in it what the two have in common, about half
of what a controller imports. The other half it imports itself, while this process warms up.

The parent must never make a ZeroMQ context, an event loop or a thread: a fork copies none of them
in a usable state. `refusal` says why a request must not be forked; such a kernel is executed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from ipyviews.launching.children import Order

#: The controller's program; above this layer, and imported here by name only.
CONTROLLER = "ipyviews.controller"

#: What can be said between the interpreter and ``-m`` without making a difference to a kernel that
#: is forked: it is about stepping into the standard library with the debugger, and about what is
#: imported before there is a kernel.
_HARMLESS_FLAGS = {"-Xfrozen_modules=off", "-P"}

#: Read when the interpreter starts or when the warm image was imported.
_READ_AT_START = ("PYTHON", "LD_", "DYLD_", "LC_", "PYDEVD_", "DEBUGPY_")
_READ_AT_START_NAMES = {"LANG", "LANGUAGE", "VIRTUAL_ENV"}

#: Read when these libraries are imported; they matter only once one of them is in the image.
_LIBRARIES = ("numpy", "scipy", "torch", "jax", "tensorflow", "numba", "cupy")
_READ_BY_LIBRARIES = (
    "OMP_", "MKL_", "OPENBLAS_", "BLIS_", "VECLIB_", "GOTO_", "KMP_", "NUMEXPR_", "NUMBA_", "CUDA_",
    "NVIDIA_", "HIP_", "ROCR_", "XLA_", "JAX_", "TF_", "TORCH_", "PYTORCH_",
)  # fmt: skip


#: What a kernel imports between the start of `IPKernelApp.initialize` and its first cell and first
#: traceback, without what these import themselves. Found by comparing `sys.modules`; not every
#: version has all. The first one puts on the path where debugpy keeps its own modules.
_EVERY_KERNEL_IMPORTS = (
    "debugpy._vendored.force_pydevd",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.debugger_backport",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "IPython.extensions.storemagic",
    "IPython.utils.wildcard",
    "cloudpickle",
    "debugpy.server.api",
    "faulthandler",
    "ipykernel.debugger",
    "ipyviews.launching.engineapp",
    "pdb",
    "pygments.console",
    "pygments.formatters.terminal256",
    "pygments.styles._mapping",
    "runpy",
    "stack_data.core",
    "tornado.gen",
    "tornado.locks",
    "tornado.platform.asyncio",
    "tornado.queues",
)


class WarmImage:
    """What this process has imported, and the environment it did it in."""

    def __init__(self) -> None:
        self._env = dict(os.environ)
        #: Why nothing can be forked here; None when it can.
        self.problem: str | None = "the image is still cold"

    def take_in_common(self) -> bool:
        """Import what controller and kernels need; tell whether the controller can be forked."""
        if sys.platform != "linux":
            return False
        try:
            importlib.import_module("jupyter_client")
        except Exception:  # noqa: BLE001 - executed, it will say so itself
            return False
        gc.freeze()
        return _second_thread(threading.active_count(), _count_tasks()) is None

    def warm_up(self) -> None:
        """Import what a kernel imports while it starts, and set it aside from garbage collection.

        Without the freeze a full collection in a child copies every page of the image.
        """
        if sys.platform != "linux":
            self.problem = "forking is safe on Linux only"
            return
        # debugpy would warn about frozen modules on stderr, which nobody could act upon.
        quiet = "PYDEVD_DISABLE_FILE_VALIDATION"
        os.environ[quiet] = self._env.get(quiet, "1")
        try:
            _import_all()
        except Exception as error:  # noqa: BLE001 - any import may fail in any way
            self.problem = f"the warm image could not be made: {error!r}"
            return
        finally:
            os.environ.clear()
            os.environ.update(self._env)
        self.problem = None
        gc.collect()
        gc.freeze()

    def refusal(self, argv: list[str], env: dict[str, str]) -> str | None:
        """Say why this kernel must not be forked; None when it may.

        Parameters
        ----------
        argv
            The kernel's command.
        env
            Its whole environment.
        """
        return (
            _foreign_command(argv)
            or self.problem
            or self._changed_variable(env)
            or _second_thread(threading.active_count(), _count_tasks())
        )

    def _changed_variable(self, env: dict[str, str]) -> str | None:
        prefixes: tuple[str, ...] = _READ_AT_START
        if any(library in sys.modules for library in _LIBRARIES):
            prefixes += _READ_BY_LIBRARIES
        for name in sorted(env.keys() | self._env.keys()):
            matters = name.startswith(prefixes) or name in _READ_AT_START_NAMES
            if matters and env.get(name) != self._env.get(name):
                return f"{name} differs and is read before a fork could set it"
        return None


def kernel_arguments(argv: list[str]) -> list[str]:
    """Take the arguments for `IPKernelApp` out of a kernel's command."""
    return argv[argv.index("ipykernel_launcher") + 1 :]


def become(order: Order) -> NoReturn:
    """Be the controller or a kernel in this forked process until it ends; then exit normally.

    The process must have been prepared by `children.start_child`. Exits go up the stack, so that
    IPython's and ipykernel's own exit handlers run.
    """
    if order.name == CONTROLLER:
        sys.orig_argv = list(order.argv)
        sys.exit(importlib.import_module(f"{CONTROLLER}.main").main(order.argv[-1:]))
    _become_kernel(order.argv)
    sys.exit(0)


def _become_kernel(argv: list[str]) -> None:
    import faulthandler  # noqa: PLC0415 - the agent itself needs none of these

    from ipyviews.launching.engineapp import EngineApp  # noqa: PLC0415

    # ipykernel replaces descriptor 2 by a pipe that a dying process no longer reads.
    last_words = os.fdopen(os.dup(2), "w")
    faulthandler.enable(last_words)
    if "numpy.random" in sys.modules:
        # Forked copies of numpy's global generator would all draw the same numbers.
        sys.modules["numpy.random"].seed()
    launcher = Path(sys.modules["ipykernel"].__path__[0]).with_name("ipykernel_launcher.py")
    arguments = [*kernel_arguments(argv), f"--IPKernelApp.parent_handle={os.getppid()}"]
    sys.argv = [str(launcher), *arguments]
    sys.orig_argv = list(argv)
    app: Any = EngineApp.instance()
    app.initialize(arguments)
    app.start()


def _foreign_command(argv: list[str]) -> str | None:
    if not argv or argv[0] != sys.executable:
        return "it is not this agent's interpreter"
    rest = [word for word in argv[1:] if word not in _HARMLESS_FLAGS]
    if rest[:2] != ["-m", "ipykernel_launcher"] or "-f" not in rest:
        return "it is not a stock IPython kernel"
    return None


def _second_thread(threads: int, tasks: int) -> str | None:
    if threads > 1 or tasks > 1:
        return f"the agent has {max(threads, tasks)} threads; only one can be forked"
    return None


def _count_tasks() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def _import_all() -> None:
    importlib.import_module("ipykernel.kernelapp")
    for name in (*_EVERY_KERNEL_IMPORTS, *_engine_modules()):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _engine_modules() -> list[str]:
    import ipyviews.engine  # noqa: PLC0415 - only the warm image needs it

    found = pkgutil.iter_modules(ipyviews.engine.__path__, "ipyviews.engine.")
    return [module.name for module in found]
