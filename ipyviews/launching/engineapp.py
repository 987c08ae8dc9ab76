"""The stock kernel application, with what can only be set before it binds its sockets.

The only place in `launching` that touches names of ipykernel that are not public:
`IPKernelApp._bind_socket`, and of `IOPubThread` the two ends of its pipe from subprocesses
(`_setup_pipe_in`, `_setup_pipe_out`, `_handle_pipe_msg`, `_pipe_uuid`, `_pipe_in`).
"""

from __future__ import annotations

import os
from typing import Any

import zmq
from ipykernel import kernelapp
from ipykernel.iostream import IOPubThread
from zmq.eventloop.zmqstream import ZMQStream

#: How long a subprocess waits at its end for what it printed to be taken [ms].
_LINGER = 3000


class PrivateIOPubThread(IOPubThread):
    """`IOPubThread` that hears its subprocesses through the run folder.

    The stock one opens a TCP port, without encryption, for what forked subprocesses of the kernel
    print.
    """

    #: Beside the connection file; set before the one thread of this process is made.
    url = ""
    _pipe_url = ""

    def _setup_pipe_in(self) -> None:
        self._pipe_uuid = os.urandom(16)
        pipe = self.socket.context.socket(zmq.PULL)
        pipe.linger = 0
        before = os.umask(0o077)
        try:
            pipe.bind(self.url)
        except zmq.ZMQError:
            # The path is too long, in a folder that is not of ours.
            pipe.close()
            stock: Any = super()._setup_pipe_in
            stock()
            return
        finally:
            os.umask(before)
        self._pipe_url = self.url
        self._pipe_in = ZMQStream(pipe, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> Any:
        if not self._pipe_url:
            stock: Any = super()._setup_pipe_out
            return stock()
        # A forked process must not use its parent's context.
        context = zmq.Context()
        pipe = context.socket(zmq.PUSH)
        pipe.linger = _LINGER
        pipe.connect(self._pipe_url)
        return context, pipe


class EngineApp(kernelapp.IPKernelApp):
    """`IPKernelApp` whose iopub never drops a message and that opens no TCP port.

    With the stock limit of 1,000 a busy machine loses lines and idle markers even when the reader
    never sleeps.
    """

    def init_iopub(self, context: Any) -> None:
        """Make the iopub channel."""
        PrivateIOPubThread.url = f"ipc://{self.abs_connection_file}-out"
        vars(kernelapp)[IOPubThread.__name__] = PrivateIOPubThread
        stock: Any = super().init_iopub
        stock(context)

    def _bind_socket(self, s: Any, port: int) -> Any:
        if s.type in (zmq.XPUB, zmq.PUB):
            s.sndhwm = 0
        stock: Any = super()._bind_socket
        return stock(s, port)
