"""Rules over the source files share their syntax trees, which nobody else has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.source_trees import forget_trees


@pytest.fixture(autouse=True, scope="package")
def trees_are_let_go() -> Iterator[None]:
    yield
    forget_trees()
