"""The stock kernel application, with one option set that can only be set before it binds.

The only place in `launching` that touches a private name of ipykernel: `IPKernelApp._bind_socket`.
"""

from __future__ import annotations

from typing import Any

import zmq
from ipykernel.kernelapp import IPKernelApp


class EngineApp(IPKernelApp):
    """`IPKernelApp` whose iopub never drops a message.

    With the stock limit of 1,000 a busy machine loses lines and idle markers even when the reader
    never sleeps.
    """

    def _bind_socket(self, s: Any, port: int) -> Any:
        if s.type in (zmq.XPUB, zmq.PUB):
            s.sndhwm = 0
        bind: Any = super()._bind_socket
        return bind(s, port)
