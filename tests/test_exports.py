"""The public names: there, documented, and none too many."""

from __future__ import annotations

import inspect

import pytest

import ipyviews
from ipyviews import errors

#: What users of the seeds and of ipyparallel import.
PROMISED = {
    "AsyncClient",
    "AsyncMapResult",
    "AsyncResult",
    "Client",
    "Cluster",
    "DirectView",
    "LoadBalancedView",
    "__version__",
    "load_ipython_extension",
}

ERRORS = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.IPyViewsError)
}


def documented(value: object) -> bool:
    return bool((inspect.getdoc(value) or "").strip())


def test_what_is_promised_is_exported():
    assert (PROMISED | ERRORS) - {"__version__", "load_ipython_extension"} <= set(ipyviews.__all__)
    for name in PROMISED | ERRORS:
        assert getattr(ipyviews, name) is not None


def test_exports_are_listed_once_and_seen_by_dir():
    assert len(set(ipyviews.__all__)) == len(ipyviews.__all__)
    assert set(ipyviews.__all__) <= set(dir(ipyviews))


@pytest.mark.parametrize("name", sorted(set(ipyviews.__all__) - {"__version__"}))
def test_an_exported_name_is_documented(name):
    value = getattr(ipyviews, name)
    assert documented(value), name
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return
    for attribute, member in inspect.getmembers(value):
        own = any(
            attribute in vars(c) for c in value.__mro__ if c.__module__.startswith("ipyviews")
        )
        if own and not attribute.startswith("_") and callable(member):
            assert documented(member), f"{name}.{attribute}"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        ipyviews.no_such_name


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert ipyviews.__version__ == version("ipyviews")
