"""What is imported when it is first asked for draws no random number of the user's: `accel.doctor` brings rich, which draws one."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

import accel
from accel.system.calls.callable_package import make_callable
from accel.system.calls.untouched_import import import_untouched

DRAWS = "import random\nDRAWN = random.random()\n\ndef drawn():\n    return DRAWN\n"
"""A module that draws a number when it is imported."""


@pytest.fixture(autouse=True)
def draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "draws_a_number.py").write_text(DRAWS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "draws_a_number", raising=False)


def test_a_module() -> None:
    before = random.getstate()
    assert import_untouched("draws_a_number").DRAWN < 1
    assert random.getstate() == before


def test_a_module_that_is_not_there() -> None:
    before = random.getstate()
    with pytest.raises(ModuleNotFoundError, match="draws_nothing"):
        import_untouched("draws_nothing")
    assert random.getstate() == before


def test_a_public_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(accel.LAZY_MODULES, "drawn", "draws_a_number")
    before = random.getstate()
    assert accel.drawn() < 1
    assert random.getstate() == before


def test_a_package_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    package = type(sys)("accel.draws")
    monkeypatch.setitem(sys.modules, "accel.draws", package)
    make_callable("accel.draws", "draws_a_number", "drawn")
    before = random.getstate()
    assert sys.modules["accel.draws"]() < 1  # type: ignore[operator]
    assert random.getstate() == before
