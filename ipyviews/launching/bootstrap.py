"""What the controller asks a Python kernel to make it an engine.

First `probe_request`: load the installed extension and report. Where that says nothing useful,
`source_request`: the same with the extension's source, and cloudpickle's, in the message. Both are
contents of a silent ``execute_request`` that does its work in ``user_expressions``: one round trip,
nothing left in the namespace or the history. This module reads source files but imports none of
them: the controller never loads pickle.
"""

from __future__ import annotations

import ast
import base64
import functools
import importlib.util
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipyviews.engine.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names nobody else has: a file in the kernel's folder must not hide what was sent.
PRIVATE_ENGINE = "_ipyviews_engine"
PRIVATE_CLOUDPICKLE = "_ipyviews_cloudpickle"

_KEY = "ipyviews"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What a kernel that loaded the extension says of itself."""

    #: Where its apply channel listens.
    apply_url: str
    #: Implementation and minor version, ``"cpython-3.11"``.
    python: str
    #: Version of ipykernel.
    ipykernel: str
    #: Version of the extension.
    version: str
    pid: int
    #: Functions by value can be loaded there.
    has_cloudpickle: bool
    #: Its ``/dev/shm``; see `ipyviews.engine.segments.place`.
    place: str = ""


def probe_request(name: str) -> dict[str, Any]:
    """Ask a kernel to load the installed extension and to report.

    Parameters
    ----------
    name
        The name under which messages will be sent to it, ``"e<id>.<incarnation>"``.

    Returns
    -------
    dict
        Content of an ``execute_request`` for the shell channel. Send it after the iopub
        subscription is proven: it also lifts the send limit of the living iopub connections.
    """
    return _request(f"__import__('importlib').import_module('ipyviews.engine').join({name!r})")


def source_request(name: str) -> dict[str, Any]:
    """Ask the same of a kernel where the extension is not installed; its source comes along.

    Parameters
    ----------
    name
        As in `probe_request`.

    Returns
    -------
    dict
        Content of an ``execute_request``, about 50 kB.
    """
    unpacked = (
        "__import__('json').loads(__import__('zlib').decompress("
        f"__import__('base64').b85decode('{_packed_sources()}')))"
    )
    joined = f"n['join'](s['modules'], {PRIVATE_ENGINE!r}, {VERSION!r}, {name!r})"
    return _request(
        f"(lambda s, n: (exec(s['sent'], n), {joined})[1])"
        f"({unpacked}, {{'__name__': '_ipyviews_sent'}})"
    )


def read_report(content: Mapping[str, Any]) -> EngineReport | None:
    """Read the answer to one of the two requests.

    Parameters
    ----------
    content
        Content of the ``execute_reply``.

    Returns
    -------
    EngineReport or None
        None when the extension is missing, of another version or cannot load functions: send
        `source_request`, or give up if that was it. `refusal` tells why.
    """
    answer = (content.get("user_expressions") or {}).get(_KEY) or {}
    text = (answer.get("data") or {}).get("text/plain")
    if answer.get("status") != "ok" or not isinstance(text, str):
        return None
    try:
        report = EngineReport(**json.loads(ast.literal_eval(text)))
    except (ValueError, SyntaxError, TypeError):
        return None
    return report if report.version == VERSION and report.has_cloudpickle else None


def refusal(content: Mapping[str, Any]) -> str:
    """Say in a few words why `read_report` returned None."""
    answer = (content.get("user_expressions") or {}).get(_KEY) or {}
    source = answer if "ename" in answer else content
    if "ename" in source:
        return f"{source['ename']}: {source.get('evalue', '')}"
    return "it reported another version of the extension, or no cloudpickle"


def _request(expression: str) -> dict[str, Any]:
    return {
        "code": "",
        "silent": True,
        "store_history": False,
        "user_expressions": {_KEY: expression},
        "allow_stdin": False,
        "stop_on_error": False,
    }


@functools.cache
def _packed_sources() -> str:
    modules = {
        **_sources("ipyviews.engine", PRIVATE_ENGINE),
        **_sources("cloudpickle", PRIVATE_CLOUDPICKLE),
    }
    sent = modules[f"{PRIVATE_ENGINE}.sent"]
    packed = zlib.compress(json.dumps({"sent": sent, "modules": modules}).encode(), 9)
    return base64.b85encode(packed).decode()


def _sources(package: str, private: str) -> dict[str, str]:
    """Read the top modules of an installed package, under their private names."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return {}
    files = Path(spec.origin).parent.glob("*.py")
    return {
        private if file.stem == "__init__" else f"{private}.{file.stem}": file.read_text("utf-8")
        for file in files
    }
