"""Checkpoints that someone has crafted, with every hash and seal right: a run goes on from one, or refuses it in a sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from accel.checkpoints.manifest import Manifest, _dump, _seal
from accel.checkpoints.sharded import MARK, load_sharded
from accel.errors import ConfigError, TrainingError
from accel.parts.shared.trackers.line_log import valid_length
from accel.plugins.adamw import AdamW
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.metrics import position
from accel.plugins.onecycle import OneCycle
from accel.testing import fit_toy
from tests.support.crafted_content import VALUES, mutated, other_value, places
from tests.support.drill_length import LONG

ROUNDS = 600 if LONG else 12


def plugins() -> list[Any]:
    return [AdamW(), EMA(), Clip(), OneCycle(max_lr=0.01)]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of several plugins that was stopped; its newest checkpoint alone."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    fit_toy(plugins(), epochs=2, out=run, stop=7, checkpoint_keep=1)
    return run


def goes_on(run: Path) -> bool:
    """Resume a run; return whether it was refused in a sentence."""
    sentence = ""
    try:
        fit_toy(plugins(), epochs=2, resume=run)
    except (ConfigError, TrainingError) as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert len(sentence) < 1500
    return bool(sentence)


def other(value: Any, random: Random) -> Any:
    """Return something else in place of a value of a state: another kind of tensor, another shape, or no tensor."""
    if isinstance(value, Tensor) and random.random() < 0.7:
        flat, like = value.detach().reshape(-1), torch.full_like(value, -1)
        shapes = [flat[:0], value.unsqueeze(0), torch.zeros(3, 0), torch.tensor(1), like]
        kinds = [flat.double(), flat.to(torch.int64), value.to(torch.complex64), value.bool(), value.to("meta")]
        return random.choice([*shapes, *kinds, value.to_sparse() if value.ndim else value])
    return other_value(random, [*VALUES[:-1], torch.ones(2), b"bytes", (1, 2)])


@pytest.mark.filterwarnings("ignore")
def test_a_state_of_other_values_is_refused_or_taken(stopped: Path, tmp_path: Path) -> None:
    (file,) = (stopped / "checkpoints").glob("*.pt")
    good, random = torch.load(file, weights_only=True), Random(0)
    refused = 0
    for number in range(ROUNDS):
        run = Path(shutil.copytree(stopped, tmp_path / str(number)))
        path = run / "checkpoints" / file.name
        state = deepcopy(good)
        if number % 2:
            state = mutated(good, random, lambda value: other(value, random))
        else:  # one number of the optimiser, on which a kernel without checks is let loose
            place = random.choice([place for place in places(state["parts"]["adamw"]) if len(place) > 2])
            owner = state["parts"]["adamw"]
            for key in place[:-1]:
                owner = owner[key]
            owner[place[-1]] = other(owner[place[-1]], random)
        torch.save(state, path)
        content = json.loads(path.with_suffix(".json").read_text())
        del content["seal"]
        content["files"][path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
        path.with_suffix(".json").write_text(_dump({**content, "seal": _seal(content)}))
        refused += goes_on(run)
        shutil.rmtree(run)
    assert refused > ROUNDS // 4


@pytest.mark.filterwarnings("ignore")
def test_a_manifest_of_other_values_is_refused_or_taken(stopped: Path, tmp_path: Path) -> None:
    (file,) = (stopped / "checkpoints").glob("*.json")
    random, refused = Random(0), 0
    content = json.loads(file.read_text())
    del content["seal"]
    for number in range(ROUNDS):
        run = Path(shutil.copytree(stopped, tmp_path / str(number)))
        crafted = mutated(content, random)
        crafted = crafted if isinstance(crafted, dict) else {"schema": 2, "x": crafted}
        (run / "checkpoints" / file.name).write_text(_dump({**crafted, "seal": _seal(crafted)}))
        refused += goes_on(run)
        shutil.rmtree(run)
    assert refused > ROUNDS // 4
    assert Manifest.read(file).name == file.stem


@pytest.mark.parametrize("mark", VALUES[:-1])
def test_a_place_of_a_sharded_tensor_that_leads_nowhere_is_a_value_error(tmp_path: Path, mark: Any) -> None:
    for place in ({MARK: mark, "shape": [2], "dtype": "float32"}, {MARK: "a", "shape": mark, "dtype": "float32"},
                  {MARK: "a", "shape": [2], "dtype": mark}, {MARK: "a"}):  # fmt: skip
        with pytest.raises((ValueError, KeyError)):
            load_sharded({"model": {"a": place}}, tmp_path)


def test_lines_of_metrics_that_accel_did_not_write_are_cut_off_or_kept() -> None:
    random = Random(0)
    row = {"update": 3, "epoch": 1, "loss": 0.5, "lr": 0.1, "samples": 12}
    for _ in range(ROUNDS * 10):
        data = (json.dumps(mutated(row, random)) + "\n").encode() * random.randrange(1, 3) + random.choice(
            [b"", b"{", b"\xff\n", b"[" * 9999]
        )
        assert 0 <= valid_length(data, 3, evaluated=True, position=position) <= len(data)
