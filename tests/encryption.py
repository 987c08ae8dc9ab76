"""Whether the versions that are installed can encrypt what kernels send over TCP."""

from __future__ import annotations

import pytest
from ipykernel.kernelapp import IPKernelApp

CAN_ENCRYPT = "curve_secretkey" in vars(IPKernelApp)

needs_encryption = pytest.mark.skipif(not CAN_ENCRYPT, reason="this ipykernel cannot encrypt")
