"""What one executed cell gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ipyviews.client.activation import shell
from ipyviews.client.metadata import METADATA_KEYS

if TYPE_CHECKING:
    from ipyviews.client.metadata import Metadata


class ExecuteReply:
    """The result of one executed cell; shows its last value as IPython would.

    Every key of its task's metadata is an attribute and an item: ``reply.stdout``.

    Parameters
    ----------
    metadata
        Of its task.
    execution_count
        The number of the cell on its engine, from 1.
    """

    def __init__(self, metadata: Metadata, execution_count: int) -> None:
        self.metadata = metadata
        self.execution_count = execution_count

    @property
    def source(self) -> str | None:
        """The code that ran."""
        source: str | None = self.metadata.execute_input
        return source

    @property
    def data(self) -> dict[str, Any]:
        """The last value by MIME type; empty when there is none."""
        return dict((self.metadata.execute_result or {}).get("data", {}))

    def __getitem__(self, key: str) -> Any:
        return self.metadata[key]

    def __getattr__(self, name: str) -> Any:
        if name not in METADATA_KEYS:
            raise AttributeError(name)
        return self.metadata[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *METADATA_KEYS})

    def __repr__(self) -> str:
        text = str(self.data.get("text/plain", ""))
        short = text if len(text) <= 32 else text[:29] + "..."
        return f"<ExecuteReply[{self.execution_count}]: {short}>"

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        printer.text(self._labelled() if self.data else repr(self))

    def _repr_mimebundle_(self, **_wanted: object) -> dict[str, Any] | None:
        data = self.data
        return {**data, "text/plain": self._labelled()} if data else None

    def _repr_html_(self) -> Any:
        return self._as("text/html")

    def _repr_png_(self) -> Any:
        return self._as("image/png")

    def _repr_jpeg_(self) -> Any:
        return self._as("image/jpeg")

    def _repr_svg_(self) -> Any:
        return self._as("image/svg+xml")

    def _repr_latex_(self) -> Any:
        return self._as("text/latex")

    def _repr_markdown_(self) -> Any:
        return self._as("text/markdown")

    def _repr_json_(self) -> Any:
        return self._as("application/json")

    def _repr_javascript_(self) -> Any:
        return self._as("application/javascript")

    def _as(self, mime: str) -> Any:
        """Return the value in one form, with its metadata if there is any, as IPython wants it."""
        shown = self.data.get(mime)
        known = (self.metadata.execute_result or {}).get("metadata", {}).get(mime)
        return (shown, known) if shown is not None and known else shown

    def _labelled(self) -> str:
        text = str(self.data.get("text/plain", ""))
        label = f"Out[{self.metadata.engine_id}:{self.execution_count}]:"
        gap = "\n" if "\n" in text else " "
        return f"{_red(label)}{gap}{text}"


def _red(label: str) -> str:
    """Colour a label as IPython does its own, unless the user has switched colours off."""
    colours = str(getattr(shell(), "colors", "nocolor")).lower()
    return label if colours == "nocolor" else f"\x1b[31m{label}\x1b[0m"
