"""`drop_last` leaves out the short last micro-batch of an epoch, and every count follows; BatchNorm and a last batch of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from accel import Trainer
from accel.data.batches.base import BatchOptions
from accel.data.batches.make_batches import make_batches
from accel.data.ranks.rank_share import RankShare
from accel.engine.checks.resumed_run import check_left_out
from accel.errors import AccelWarning, ConfigError
from accel.plugins import Accumulate, Extents, Metrics, OneCycle, Threads, Workers

DATA = TensorDataset(torch.arange(42.0).reshape(21, 2))


class Rows(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 21

    def __getitem__(self, index: int) -> Any:
        return (DATA.tensors[0][index],)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return (Rows()[i] for i in range(21))


seen: list[Tensor] = []


def loss(model: nn.Module, batch: Any) -> Tensor:
    if model.training:
        seen.append(batch[0][:, 0].clone())
    return model(batch[0] / 42).square().mean()


def fit(data: Any, plugins: Any = (), model: nn.Module | None = None, **settings: Any) -> Any:
    seen.clear()
    torch.manual_seed(0)
    settings = {"batch_size": 4, "drop_last": True, "watch": (), "epochs": 2} | settings
    return Trainer(model or nn.Linear(2, 1), data, loss=loss, plugins=plugins, **settings).fit()


LOADERS: dict[str, Any] = {
    "plain": [], "threads": [Threads(count=2)], "workers": [Workers(count=2)], "resident": ["resident"], "prefetch": ["prefetch"],
    "extents": [Extents(size=2, window=2)],
}  # fmt: skip


@pytest.mark.parametrize("plugins", LOADERS.values(), ids=LOADERS)
def test_every_loader_leaves_out_the_same(plugins: Any) -> None:
    result = fit(Rows(), plugins, val=Rows())
    assert (result.updates, result.samples) == (10, 40)
    assert [len(batch) for batch in seen] == [4] * 10
    epochs = [sorted(torch.cat(seen[start : start + 5]).tolist()) for start in (0, 5)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert epochs[0] != epochs[1], "another sample is left out"
    batches = list(seen)
    fit(Rows(), plugins, drop_last=False)
    kept = [batch for batch in seen if len(batch) == 4]
    assert all(torch.equal(*pair) for pair in zip(kept, batches, strict=True)), "what is left is as without"


@pytest.mark.parametrize("data", [Stream(), DATA, list(Rows())[:21]], ids=["stream", "tensors", "list"])
def test_every_kind_of_data(data: Any) -> None:
    assert fit(data).samples == 40
    assert all(len(batch) == 4 for batch in seen)


def test_schedule_plan_and_windows_follow(tmp_path: Path) -> None:
    result = fit(DATA, [OneCycle(max_lr=0.1), Accumulate(3), Metrics(curves=False)], out=tmp_path / "run")
    assert (result.updates, result.samples) == (4, 40)
    plan = json.loads((tmp_path / "run/plan.json").read_text())["facts"]
    assert plan["data"] == "21 samples, of which each epoch leaves out 1 (drop_last)"
    assert plan["updates"] == "4 = 2 epochs x 2"
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["samples"] for row in rows] == [12, 20, 32, 40]


def test_a_resumed_run_must_have_it_again(tmp_path: Path) -> None:
    whole = fit(DATA)
    fit(DATA, epochs=1, out=tmp_path / "run")
    resumed = fit(DATA, resume=tmp_path / "run")
    assert torch.equal(resumed.model.weight, whole.model.weight)
    with pytest.raises(ConfigError, match="drop_last was True and is now not set"):
        fit(DATA, resume=tmp_path / "run", drop_last=False, epochs=3)
    fit(DATA, epochs=1, out=tmp_path / "other", drop_last=False)
    assert "drop_last" not in json.loads(next((tmp_path / "other/checkpoints").glob("*.json")).read_text())["identity"]
    with pytest.raises(ConfigError, match="drop_last was not set and is now True"):
        fit(DATA, resume=tmp_path / "other")


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_leave_out_what_is_short_over_all_of_them(ranks: int) -> None:
    options = BatchOptions(drop_last=True)
    taken: list[int] = []
    for rank in range(ranks):
        for data in (Rows(), Stream()):
            batches = make_batches(data, 4, 7, not isinstance(data, Stream), RankShare(rank, ranks), options=options)
            counted = list(batches.counted(batches.epoch(0), 0))
            assert {(batch.samples, batch.global_samples) for batch in counted} == {(4, 4 * ranks)}
            assert len(counted) == 21 // (4 * ranks)
            assert batches.count in (None, len(counted))
        taken += [number for batch in counted for number in batch.batch[0][:, 0].tolist()]
    assert len(set(taken)) == len(taken) == 21 // (4 * ranks) * 4 * ranks


def test_what_it_refuses_and_where_it_has_no_effect() -> None:
    with pytest.raises(ConfigError, match="drop_last leaves no batch of 32 of the 21 training samples; set drop_last=false"):
        fit(DATA, batch_size=32)
    with pytest.warns(AccelWarning, match="drop_last has no effect: the data comes in ready batches, .* set it in the DataLoader"):
        assert fit(DataLoader(DATA, 4), batch_size=None).samples == 42
    assert fit(DataLoader(DATA, 4, drop_last=True), batch_size=None, drop_last=False).samples == 40


class Run:
    """The facts that `check_left_out` looks at."""

    def __init__(self, samples: int | None, size: int) -> None:
        self.train = make_batches(TensorDataset(torch.zeros(samples or 1)), size, options=BatchOptions(drop_last=True))
        self.train.samples = samples
        self.batch_size, self.uses_batch_size = size, True
        self.parts = type("Parts", (), {"group": type("G", (), {"size": 1}), "parallel": type("P", (), {"world_size": 1})})


def test_other_ranks_must_leave_out_the_same() -> None:
    check_left_out(Run(96, 8), 16)  # type: ignore[arg-type]
    for run in (Run(104, 8), Run(None, 8)):
        with pytest.raises(ConfigError, match="left out what was short of 16 samples before, and now"):
            check_left_out(run, 16)  # type: ignore[arg-type]


def norm_net(kind: str) -> nn.Module:
    if kind == "vectors":
        return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    return nn.Sequential(nn.Unflatten(1, (1, 2)), nn.BatchNorm1d(1), nn.Flatten(), nn.Linear(2, 1))


LAST_OF_ONE: dict[str, Any] = {
    "data set": (Rows, {}, "21 samples in batches of 4 leave a last one of 1, .*; set drop_last=true"),
    "tensors": (lambda: DATA, {}, "set drop_last=true"),
    "accumulated": (Rows, {"plugins": [Accumulate(2)]}, "set drop_last=true"),
    "loader": (lambda: DataLoader(DATA, 4), {"batch_size": None}, "set drop_last=True in the DataLoader"),
    "list of batches": (
        lambda: [(DATA.tensors[0][i : i + 4],) for i in range(0, 21, 4)],
        {"batch_size": None},
        "last of the data's",
    ),
    "batches of one": (Rows, {"batch_size": 1}, "batch_size=1 gives batches of one sample"),
}


@pytest.mark.parametrize(("data", "settings", "sentence"), LAST_OF_ONE.values(), ids=LAST_OF_ONE)
def test_batch_norm_and_a_last_batch_of_one(data: Any, settings: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"BatchNorm 1 needs more than one value per channel, and .*{sentence}"):
        fit(data(), model=norm_net("vectors"), out=tmp_path / "run", **{"drop_last": False} | settings)
    assert not (tmp_path / "run").exists()
    result = fit(data(), model=norm_net("sequences"), **{"drop_last": False} | settings)
    assert result.samples == 42, "several values per channel are enough"
    assert not any(module._forward_pre_hooks for module in result.model.modules())


def test_batch_norm_is_looked_at_in_training_alone() -> None:
    with pytest.raises(ConfigError, match="BatchNorm 1 needs more than one value per channel"):
        fit(Rows(), model=norm_net("vectors"), drop_last=False, val=Rows(), metrics=lambda m, b: {"mean": m(b[0]).mean()})


def test_batch_norm_without_such_a_batch() -> None:
    fit(Rows(), model=norm_net("vectors"))
    fit(Rows(), model=norm_net("vectors"), drop_last=False, batch_size=6)
    frozen = norm_net("vectors")
    frozen[1].train(False)  # type: ignore[index]
    fit(DataLoader(DATA, 4, drop_last=True), model=frozen, batch_size=None, drop_last=False)


def test_batch_norm_in_a_stream_is_refused_when_it_comes() -> None:
    with pytest.raises(ConfigError, match=r"BatchNorm needs more than one value per channel .*drop_last=true"):
        fit(Stream(), model=norm_net("vectors"), drop_last=False)
