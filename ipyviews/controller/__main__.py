"""``python -m ipyviews.controller <run folder>``."""

from __future__ import annotations

import sys

from ipyviews.controller.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
