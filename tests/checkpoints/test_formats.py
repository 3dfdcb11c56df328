"""The page on file formats names every key of a checkpoint, and none that is never written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from accel.checkpoints import FOLDER
from accel.checkpoints.manifest import Manifest
from accel.errors import BadSample
from accel.parts import Part, Watch
from accel.parts.shared.trackers.tracker import Tracker
from accel.plugins import AMP, EMA, OOM, AdamW, Average, Backend, EarlyStop, FiniteGuard, MasterWeights, Plateau, Scheduler
from accel.schema import plugin_registry
from accel.trainer import Trainer

PAGE = (Path(__file__).parents[2] / "docs/internals/formats.md").read_text()
ROWS = re.findall(r"^\| (`[^|]*) \|", PAGE.partition("### The .pt\n")[2].partition("### Pieces")[0], re.MULTILINE)
KEYS = [key for row in ROWS for key in re.findall(r"`([^`]+)`", row)]
WORDS = {"PARAMETER": r"[\w.]+", "NAME": r"[\w.]+", "N": r"\d+", "PART": r"\w+", "OPTIMIZER": r"\w+", "DATA": r"\w+"}
ELSEWHERE = {
    "parts.metrics.waiting": "a full disk", "parts.backend.readers": "workers beside threads", "rng.now.cuda": "a GPU",
    "parts.tensorboard.NAME": "tensorboard is installed or not", "parts.csv.waiting": "a full disk",
    "parts.csv.columns": "a full disk",
    **{f"parts.{name}.{key}": f"{name} is installed or not" for name in ("wandb", "mlflow") for key in ("length", "waiting")},
    "parts.distill.added_parameters.NAME": "hints of a teacher",
    **{f"parts.prune.{name}": "a run that prunes" for name in ("done", "masks.PARAMETER", "sums", "count")},
}  # fmt: skip
"""Keys that do not occur here, and what they need."""


def pattern(key: str) -> str:
    """The documented key as a regular expression."""
    return r"\.".join(WORDS.get(word, re.escape(word)) for word in key.split("."))


def flat(value: Any, path: str = "") -> Iterator[str]:
    """Yield the dotted key of each value that is no dict, and of each empty dict."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path


PAIRS = TensorDataset(torch.randn(12, 4), torch.arange(12) % 2)


class Net(nn.Module):
    """Has a buffer that grows, and one that is not persistent; thaws a layer after the first epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        self.norm = nn.BatchNorm1d(4)
        self.first.requires_grad_(False)
        self.register_buffer("bank", torch.zeros(0, 4))
        self.register_buffer("centre", torch.zeros(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.bank = torch.cat([self.bank, x[:1].detach().float()])
            self.centre.lerp_(x.mean(0), 0.1)
        out: Tensor = self.last(self.norm(self.first(x - self.centre)))
        return out


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Twelve rows, one of which cannot be read."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 3:
            raise BadSample("row 3 is torn")
        return torch.full((4,), float(index)), torch.tensor(index % 2)


class Everything(Trainer):
    """Has a batch without items, keeps a state of its own, and thaws."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        if self.settings.seed and len(model.bank) > 3:
            model.first.requires_grad_(True)
        loss = nn.functional.cross_entropy(model(batch[0]).float(), batch[1])
        return loss, torch.tensor(len(batch[1]) if len(model.bank) != 2 else 0)

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        return {"loss": self.loss(model, batch)[0]}

    def get_extra_state(self) -> Any:
        return {"seen": 3}


class Stop(Watch):
    """Ends the run, with a reason."""

    def setup(self, run: Any) -> None:
        self.run = run

    def after(self, step: int, loss: Tensor) -> None:
        if step == 5:
            self.run.stop("it has seen enough")


def checkpoint(out: Path, plugins: list[Part], data: Any, **settings: Any) -> dict[str, Any]:
    """The newest checkpoint of a run, read by torch alone."""
    val = TensorDataset(torch.randn(6, 4), torch.arange(6) % 2)
    run = {"epochs": 2, "batch_size": None if isinstance(data, DataLoader) else 4, "device": "cpu", "bad_limit": 0.5}
    Everything(Net(), data, val, plugins=plugins, out=out, watch=["metrics"], **{**run, **settings}).fit()
    file = sorted((out / FOLDER).glob("*.pt"))[-1]
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    manifest = Manifest.read(file.with_suffix(".json"))
    assert manifest.progress == state["progress"] == json.loads(file.with_suffix(".json").read_text())["progress"]
    return state


@pytest.mark.filterwarnings("ignore::accel.errors.AccelWarning", "ignore:.*model has other parameters")
def test_every_key_is_documented_and_every_documented_key_occurs(tmp_path: Path) -> None:
    everything: list[Part] = [
        AdamW(groups=[{"match": "*.bias", "weight_decay": 0}]), AMP(dtype="float16", force=True), EMA(), FiniteGuard(),
        Plateau(metric="loss"), EarlyStop(metric="loss"), OOM(), Backend(threads="auto"), Stop(),
    ]  # fmt: skip
    states = [
        checkpoint(tmp_path / "one", everything, Rows(), bad_data="skip", max_seconds=100.0, seed=1),
        checkpoint(tmp_path / "two", [MasterWeights()], DataLoader(Rows12(), 4, generator=torch.Generator())),
        checkpoint(tmp_path / "three", [Average(last=2), Scheduler("torch.optim.lr_scheduler.StepLR", {"step_size": 2})], PAIRS),
        checkpoint(tmp_path / "four", [Average(last=None)], PAIRS),
    ]
    occurring = {key for state in states for key in flat(state)}
    documented = {key: re.compile(pattern(key)) for key in KEYS}
    roots = {key for key in KEYS if any(other.startswith(f"{key}.") for other in KEYS)} | {"parts.PART"}
    leaves = {key: one for key, one in documented.items() if key not in roots}

    def is_known(key: str) -> bool:
        key = re.sub(r"^parts\.master_weights\.(scale|good|skipped)$", r"parts.amp.\1", key.replace("rng.began.", "rng.now."))
        key = re.sub(r"^extra\..*", "extra", key)
        empty = re.fullmatch(r"parts\.\w+|bad\.\w+", key) is not None
        return empty or any(one.fullmatch(key) for one in leaves.values())

    assert sorted(key for key in occurring if not is_known(key)) == []
    seen = occurring | {key.rpartition(".")[0] for key in occurring}
    missing = {key for key, one in leaves.items() if not any(map(one.fullmatch, seen))}
    assert missing == set(ELSEWHERE)


class Rows12(Rows):
    """All of them can be read, and a generator is held beside."""

    def __init__(self) -> None:
        self.generator = torch.Generator()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.rand(4, generator=self.generator), torch.tensor(index % 2)


def test_every_plugin_with_a_state_is_on_the_page() -> None:
    plugins = {name: plugin_registry.load(name) for name in plugin_registry.names()}
    with_state = [name for name, plugin in plugins.items() if "state_dict" in vars(plugin) or issubclass(plugin, Tracker)]
    assert len(with_state) > 5
    assert [name for name in with_state if f"`parts.{name}." not in PAGE] == []
