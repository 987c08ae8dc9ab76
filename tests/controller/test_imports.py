"""The controller never unpickles, so nothing of it may even have the means at hand."""

from __future__ import annotations

import json
import subprocess
import sys

LOOK = """
FORBIDDEN = {"pickle", "_pickle", "cloudpickle", "marshal", "shelve"}
import ast, importlib.util, json, sys
import ipyviews.controller.main
ours = [name for name in sys.modules if name.partition(".")[0].startswith("ipyviews")]
found = {}
for name in ours:
    tree = ast.parse(open(sys.modules[name].__file__).read())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for imported in names:
            if imported.partition(".")[0] in FORBIDDEN:
                found.setdefault(name, []).append(imported)
print(json.dumps({"ours": ours, "found": found, "cloudpickle": "cloudpickle" in sys.modules}))
"""


def test_nothing_the_controller_loads_can_unpickle():
    output = subprocess.run(
        [sys.executable, "-c", LOOK], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    answer = json.loads(output)
    assert "ipyviews.controller.driver" in answer["ours"]
    assert answer["found"] == {}
    assert answer["cloudpickle"] is False
