"""Tests beside other packages of the field: `make ecosystem` runs them, and each skips where its package is not installed.

A file begins with `pytest.importorskip("PACKAGE", reason="needs the extra ecosystem")`. Every package that is named so is in the
extra `ecosystem`.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, object, object]:
    """A package that warns as it is imported is no error of the file that asks for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (yield)


def pytest_itemcollected(item: pytest.Item) -> None:
    """A package's warnings are its own; those of accel stay errors."""
    item.add_marker(pytest.mark.filterwarnings("ignore", "error::accel.errors.AccelWarning"))
