"""A JupyterLab server of our own: loopback only, fresh folders, the settings a new user has."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.waiting import wait_until

#: What would open dialogs, ask the network, or write while a test looks.
SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "docmanager-extension/plugin": {"autosave": False},
}

OPTIONS = [
    "--no-browser",
    "--allow-root",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    # Tells the page's state without looking at pixels.
    "--LabApp.expose_app_in_browser=True",
    "--LabApp.extension_manager=readonly",
    "--LabApp.news_url=",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
]

#: Where each variable points to, below the server's folder.
FOLDERS = {
    "HOME": "home",
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "XDG_RUNTIME_DIR": "run",
}


#: Say that nobody watches; the pages of this server are watched.
UNWATCHED = {"CI", "IPP_NONINTERACTIVE", "IPYVIEWS_PROGRESS"}


class Lab:
    """The server, from its start to its end.

    Parameters
    ----------
    folder
        For everything the server and its kernels write; short, for the sockets in it.
    """

    def __init__(self, folder: Path) -> None:
        self.notebooks = folder / "notebooks"
        self.runs = folder / FOLDERS["XDG_RUNTIME_DIR"] / "ipv"
        self.token = secrets.token_hex(16)
        self._log = folder / "server.log"
        for path in (self.notebooks, *(folder / name for name in FOLDERS.values())):
            path.mkdir(mode=0o700)
        for plugin, value in SETTINGS.items():
            path = folder / FOLDERS["JUPYTERLAB_SETTINGS_DIR"] / "@jupyterlab" / plugin
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".jupyterlab-settings").write_text(json.dumps(value))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self._server = self._start(folder, port)
        try:
            wait_until(self._answers, 60, "the start of JupyterLab")
        except BaseException:
            self.stop()
            raise

    def _start(self, folder: Path, port: int) -> subprocess.Popen[bytes]:
        own = [
            f"--ServerApp.port={port}",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.notebooks}",
        ]
        paths = {name: str(folder / below) for name, below in FOLDERS.items()}
        environment = {name: value for name, value in os.environ.items() if name not in UNWATCHED}
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jupyterlab", *OPTIONS, *own],
                env=environment | paths,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def request(self, path: str, method: str = "GET") -> bytes:
        """Ask the server's own interface."""
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.base + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    def _answers(self) -> bool:
        if self._server.poll() is not None:
            raise RuntimeError(f"JupyterLab ended: {self._log.read_text()[-2000:]}")
        try:
            self.request("/api/status")
        except OSError:
            return False
        return True

    def end_kernels(self) -> None:
        """End every kernel, and wait until its cluster is gone as well."""
        for session in json.loads(self.request("/api/sessions")):
            self.request(f"/api/sessions/{session['id']}", "DELETE")
        wait_until(lambda: not any(self.runs.glob("*")), 20, "the end of the notebook's cluster")

    def stop(self) -> None:
        """End the server with its kernels."""
        if self._server.poll() is None:
            with contextlib.suppress(OSError):
                self.request("/api/shutdown", "POST")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(15)
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
