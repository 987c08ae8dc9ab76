"""The IPython magics of ipyviews."""
