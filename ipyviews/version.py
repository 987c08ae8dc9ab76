"""The version, importable from every room without the package's root."""

__version__ = "0.1.0"
