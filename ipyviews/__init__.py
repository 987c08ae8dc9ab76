"""Interactive parallel computing on ordinary Jupyter kernels."""

__version__ = "0.1.0"
