"""The version, importable from every room without the package's root."""

__version__ = "0.1.0"

#: The version in numbers, to compare.
version_info = tuple(int(part) for part in __version__.split("."))
