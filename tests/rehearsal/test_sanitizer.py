"""CSAN sees no race in accel's runs, and each planted one of two streams. It stays on: this file has its own process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.rehearsal import races
from tests.rehearsal.mutants import MUTANTS

pytestmark = pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning")


@pytest.fixture(scope="module", autouse=True)
def sanitized() -> None:
    races.sanitize()


def test_a_race_of_two_streams_is_seen() -> None:
    x = torch.zeros(4, device="cuda")
    with pytest.raises(torch.cuda._sanitizer.CUDASanitizerErrors), torch.cuda.stream(torch.cuda.Stream()):
        x.add_(1)
    torch.cuda.synchronize()


@pytest.mark.parametrize("name", [*races.BATCHES, *races.SAMPLES])
def test_a_run_has_no_race(name: str, tmp_path: Path) -> None:
    races.fit(name, tmp_path)


@pytest.mark.parametrize(("mutant", "name"), [("no_wait_event", "stream"), ("capture_without_waits", "graph")])
def test_a_planted_race_is_seen(mutant: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    with pytest.raises((torch.cuda._sanitizer.CUDASanitizerErrors, BaseExceptionGroup)):
        races.fit(name)
    torch.cuda.synchronize()
