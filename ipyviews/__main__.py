"""``python -m ipyviews`` is the command ``ipyviews``."""

from ipyviews.cli import main

raise SystemExit(main())
