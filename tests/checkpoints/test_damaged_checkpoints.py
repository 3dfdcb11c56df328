"""Damaged checkpoints: none is loaded in silence."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from accel.checkpoints import damage, find
from accel.checkpoints.discovery import load
from accel.checkpoints.manifest import Damaged
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.testing import fit_toy
from tests.support.checkpoint_damage import two
from tests.support.drill_length import times


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def cut(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def zero(path: Path, rng: random.Random) -> None:
    start = rng.randrange(path.stat().st_size - 16)
    data = bytearray(path.read_bytes())
    while not any(data[start : start + 16]):
        start = rng.randrange(len(data) - 16)
    data[start : start + 16] = bytes(16)
    path.write_bytes(data)


def grow(path: Path, rng: random.Random) -> None:
    with path.open("ab") as stream:
        stream.write(rng.randbytes(1 + rng.randrange(100)))


def swap(path: Path, rng: random.Random) -> None:
    other = next(file for file in path.parent.glob(f"*{path.suffix}") if file != path)
    spare = path.with_name("spare")
    path.rename(spare)
    other.rename(path)
    spare.rename(other)


def other_kind(path: Path, rng: random.Random) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path, random.Random], None]] = [flip, cut, zero, grow, flip, other_kind]


@pytest.mark.slow
def test_no_damage_is_loaded_in_silence(made: Path, tmp_path: Path) -> None:
    rng, fallen_back = random.Random(5), 0
    for number in range(times(100, 2000)):
        run = Path(shutil.copytree(made, tmp_path / "run"))
        old, new = two(run)
        path = rng.choice([new, new.with_suffix(".json")])
        rng.choice(DAMAGES)(path, rng)
        actual = find("auto", run)
        assert actual is not None, f"damage {number}"
        assert actual.file == old, f"damage {number}: {path.name} was taken"
        assert list(actual.skipped) == [new.stem], f"damage {number}"
        with pytest.raises((ConfigError, Damaged)):
            load(new)
        fallen_back += 1
        shutil.rmtree(run)
    assert fallen_back == times(100, 2000)


@pytest.mark.parametrize("suffix", [".pt", ".json"])
def test_a_swapped_pair_is_no_pair(run: Path, suffix: str) -> None:
    swap(two(run)[1].with_suffix(suffix), random.Random(0))
    with pytest.raises(ConfigError, match=r"none of 2 checkpoints in .* is whole"):
        find("auto", run)


def test_a_whole_pair_under_another_name_is_not_what_its_name_says(run: Path) -> None:
    old, new = two(run)
    for suffix in (".pt", ".json"):
        new.with_suffix(suffix).unlink()
        shutil.copy(old.with_suffix(suffix), new.with_suffix(suffix))
    assert damage(new) == "has a .json that accel did not write", "it names the files of another"
    assert damage(old) is None


def test_it_says_what_it_skipped_and_goes_on(run: Path) -> None:
    old, new = two(run)
    flip(new, random.Random(1))
    with pytest.warns(AccelWarning, match=rf"skipped {new.stem}: it is damaged \(its sha256 differs\); going on from {old.stem}"):
        done = fit_toy([AdamW()], epochs=3, resume=run)
    assert done.spy.run.plan.facts["resume"].endswith(f"skipped {new.stem}, which is damaged (its sha256 differs)")
    assert json.loads((run / "plan.json").read_text())["facts"]["resume"] == done.spy.run.plan.facts["resume"]
    whole = fit_toy([AdamW()], epochs=3)
    assert all(map(torch.equal, done.weights, whole.weights))
