"""How the pages are built: ``python -m sphinx -W -n docs <folder>``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref

import ipyviews

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

project = "ipyviews"
author = "The ipyviews developers"
version = release = ipyviews.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
html_theme = "furo"
html_title = f"ipyviews {version}"

myst_heading_anchors = 3
# A text in single quotes names something of ours, or a parameter.
default_role = "py:obj"
nitpick_ignore_regex = [("py:obj", r"[a-z_]+"), ("py:obj", r"(asyncio|concurrent|ipyviews)\..*")]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


def find_in_any_module(_: Sphinx, tree: nodes.document) -> None:
    """Let `Client.wait` lead to the class, whichever module the text that says so is in."""
    for reference in tree.findall(pending_xref):
        if reference.get("reftarget", "")[:1].isupper():
            reference["refspecific"] = True


def setup(app: Sphinx) -> None:
    """Show diagrams as they are written; pages on the code's host draw them."""
    app.add_lexer("mermaid", TextLexer)
    app.connect("doctree-read", find_in_any_module)
