"""Runs inside kernels: the apply channel and its task runner."""
