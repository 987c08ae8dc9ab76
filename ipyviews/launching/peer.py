"""One connection to the agent: JSON lines in both directions, nothing blocks."""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def is_this_user(sock: socket.socket) -> bool:
    """Whether the other end of a unix socket belongs to our user; the system says so."""
    if sys.platform != "linux":
        return True  # There the folder alone protects.
    size = struct.calcsize("3i")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return bool(struct.unpack("3i", credentials)[1] == os.geteuid())


class Peer:
    """A connected process.

    Parameters
    ----------
    sock
        Its socket.
    selector
        Where to wait for it; the registered data is a callable.
    on_line
        Called with each line it sends.
    on_close
        Called once when it is gone.
    """

    def __init__(
        self,
        sock: socket.socket,
        selector: selectors.BaseSelector,
        on_line: Callable[[Peer, bytes], None],
        on_close: Callable[[Peer], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._selector = selector
        self._on_line = on_line
        self._on_close = on_close
        self._received = bytearray()
        self._unsent = bytearray()
        self._is_open = True
        selector.register(sock, selectors.EVENT_READ, self._on_event)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message, now or when there is room; nothing happens when the peer is gone."""
        if self._is_open:
            self._unsent += json.dumps(message).encode() + b"\n"
            self._flush()

    def detach(self) -> None:
        """Let go of the socket without closing its number."""
        self._sock.detach()

    def _on_event(self) -> None:
        if self._unsent:
            self._flush()
        if self._is_open:
            self._read()

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close()
            return
        del self._unsent[:sent]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._sock, events, self._on_event)

    def _read(self) -> None:
        try:
            chunk = self._sock.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._close()
            return
        self._received += chunk
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        for line in lines:
            self._on_line(self, bytes(line))

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._selector.unregister(self._sock)
            self._sock.close()
            self._on_close(self)
