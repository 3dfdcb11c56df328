"""best.safetensors has the weights that were evaluated when the metric was best, whatever came between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.data import TensorDataset

from accel.checkpoints import FOLDER
from accel.checkpoints.fault_points import BEST_WEIGHTS
from accel.checkpoints.retention import names
from accel.checkpoints.weights import BEST, write_weights
from accel.parts import Part
from accel.plugins import EMA, SGD, MasterWeights, ScheduleFree
from accel.report.result import Result
from accel.system import faults
from accel.trainer import Trainer
from tests.checkpoints.test_fault_points import forked

pytestmark = pytest.mark.filterwarnings(
    "ignore:schedule_free. the running statistics of BatchNorm", "ignore:master_weights. this CPU has no bfloat16"
)
torch.manual_seed(7)
X = torch.randn(64, 6)
DATA = TensorDataset(X, (X.sum(1) > 0).long())


class Tied(nn.Module):
    """A model with a tied weight and a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.norm(self.second(torch.relu(self.first(x)))))
        return out


def measure(model: nn.Module, batch: Any) -> dict[str, torch.Tensor]:
    output = model(batch[0]).float()
    return {"accuracy": (output.argmax(1) == batch[1]).double().mean(), "loss": nn.functional.cross_entropy(output, batch[1])}


def fit(out: Path | None, plugins: list[Part], epochs: int = 5, best: str | None = "min:loss", **settings: Any) -> Result:
    torch.manual_seed(1)
    return Trainer(
        Tied(), DATA, DATA, loss=lambda m, b: nn.functional.cross_entropy(m(b[0]).float(), b[1]), metrics=measure, plugins=plugins,
        epochs=epochs, batch_size=16, out=out, checkpoint_best=best, device="cpu", watch=(),
        **{"checkpoint_keep": 1, **settings},
    ).fit()  # fmt: skip


def value_of(result: Result, metric: str) -> float:
    """The metric of the best weights, loaded into a model that knows nothing of the run."""
    assert result.best is not None
    model = result.best.load(Tied()).eval()
    with torch.no_grad():
        return sum(float(measure(model, (x, y))[metric]) * len(x) for x, y in [(X, DATA.tensors[1])]) / len(X)


PLUGINS = {
    "plain": lambda: [SGD(lr=1.5)], "ema": lambda: [SGD(lr=1.5), EMA(decay=0.8)],
    "masters": lambda: [SGD(lr=1.5), MasterWeights()], "masters and ema": lambda: [SGD(lr=1.5), MasterWeights(), EMA(decay=0.8)],
    "schedule free": lambda: [ScheduleFree(lr=1.5)],
}  # fmt: skip


@pytest.mark.parametrize("plugins", PLUGINS)
@pytest.mark.parametrize("metric", ["min:loss", "accuracy"])
def test_it_has_the_weights_that_were_evaluated(plugins: str, metric: str, tmp_path: Path) -> None:
    result, name = fit(tmp_path / "run", PLUGINS[plugins](), best=metric), metric.removeprefix("min:")
    values = [row[name] for row in result.history]
    best = min(values) if name == "loss" else max(values)
    assert result.best is not None
    assert (result.best.value, result.best.epoch, result.best.metric) == (best, values.index(best) + 1, name), "the first of equals"
    # the evaluation under master weights multiplies their 16-bit copies; what is handed out are the masters themselves
    assert value_of(result, name) == pytest.approx(best, abs=2e-2 if "masters" in plugins else 1e-5)
    assert result.best.checkpoint in names(tmp_path / "run" / FOLDER)
    summary = result.summary()["best"]
    assert summary == {
        "metric": name,
        "value": best,
        "epoch": result.best.epoch,
        "file": BEST,
        "checkpoint": result.best.checkpoint,
    }


def test_at_the_best_epoch_it_is_what_model_safetensors_is(tmp_path: Path) -> None:
    for plugins in PLUGINS.values():
        run = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        result = fit(run, plugins(), epochs=1)
        last, best = load_file(run / "model.safetensors"), load_file(run / BEST)
        assert last.keys() == best.keys()
        assert all(torch.equal(last[name], best[name]) and last[name].dtype == best[name].dtype for name in last)
        assert result.best is not None


def test_without_the_setting_there_is_none(tmp_path: Path) -> None:
    assert fit(tmp_path / "run", [], best=None).best is None
    assert not (tmp_path / "run" / BEST).exists()


@pytest.mark.parametrize("place", ["saving.record.settled", BEST_WEIGHTS[0], BEST_WEIGHTS[3]])
def test_killed_while_it_is_written_it_is_right_after_the_resume(place: str, tmp_path: Path) -> None:
    whole, run = fit(tmp_path / "whole", [SGD(lr=1.5), EMA(decay=0.8)], epochs=4), tmp_path / "run"

    def train() -> None:
        faults.arm(f"{place}:2")
        fit(run, [SGD(lr=1.5), EMA(decay=0.8)], epochs=4)

    assert os.WIFSIGNALED(forked(train))
    result = fit(run, [SGD(lr=1.5), EMA(decay=0.8)], epochs=4, resume="auto")
    assert whole.best is not None
    assert result.best is not None
    assert (result.best.value, result.best.epoch) == (whole.best.value, whole.best.epoch)
    expected, actual = whole.best.state_dict(), result.best.state_dict()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_it_is_made_again_from_the_best_checkpoint_where_it_is_of_another(tmp_path: Path) -> None:
    run, plugins = tmp_path / "run", [SGD(lr=1.5), EMA(decay=0.8)]
    before = fit(run, plugins, epochs=4, best="accuracy")
    assert before.best is not None
    expected = before.best.state_dict()
    assert before.best.epoch < 4
    (run / BEST).unlink()
    trained: list[bool] = []
    hook = register_module_forward_pre_hook(lambda module, _: trained.append(module.training) if type(module) is Tied else None)
    with hook:
        after = fit(run, [SGD(lr=1.5), EMA(decay=0.8)], epochs=4, best="accuracy", resume="auto")
    assert not any(trained), "the run goes on where it was, and not from its best checkpoint"
    assert after.best is not None
    assert after.best.checkpoint == before.best.checkpoint
    assert all(torch.equal(value, expected[name]) for name, value in after.best.state_dict().items())
    assert all(
        torch.equal(a, b) for a, b in zip(before.model.state_dict().values(), after.model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("worst", [1, 2])
def test_a_run_that_goes_back_has_the_best_of_what_it_goes_back_to(worst: int, tmp_path: Path) -> None:
    run, plugins = tmp_path / "run", [SGD(lr=0.05), EMA(decay=0.5)]
    kept = fit(run, plugins, epochs=4, checkpoint_keep=4, best=None).history
    after = fit(run, plugins, epochs=4, checkpoint_keep=4, resume="auto")
    assert after.best is not None
    assert after.best.epoch == min(range(4), key=lambda index: kept[index]["loss"]) + 1 == 4, "made from the last, and now of it"
    middle = run / FOLDER / f"{names(run / FOLDER)[worst]}.pt"
    back = fit(run, plugins, epochs=worst + 1, checkpoint_keep=4, resume=middle, best="max:loss")
    assert back.best is not None
    assert (back.best.epoch, back.best.value) == (1, kept[0]["loss"]), "made from the first, which is none of the newest"
    assert value_of(back, "loss") == pytest.approx(kept[0]["loss"])
    assert back.history == kept[: worst + 1], "the run itself is where it went back to"


def test_equal_weights_and_facts_make_equal_files(tmp_path: Path) -> None:
    """The library writes metadata in another order each time."""
    state, facts = {"a": torch.arange(3.0), "ü": torch.ones(2, dtype=torch.bfloat16)}, {name: f"{name} ü" for name in "edcba"}
    files = [tmp_path / f"{number}.safetensors" for number in range(8)]
    for file in files:
        write_weights(file, state, **facts)
    assert len({file.read_bytes() for file in files}) == 1
    with safe_open(files[0], "pt") as file:
        assert file.metadata() == facts
    assert all(torch.equal(value, state[name]) for name, value in load_file(files[0]).items())


def test_nan_is_never_the_best(tmp_path: Path) -> None:
    values = iter([float("nan"), 0.5, float("nan"), 0.2, 0.5])

    def metrics(model: nn.Module, batch: Any) -> dict[str, float]:
        return {"accuracy": next(values)}

    result = Trainer(
        Tied(), DATA, [(X, DATA.tensors[1])], loss=lambda m, b: m(b[0]).mean(), metrics=metrics, epochs=4, out=tmp_path / "run",
        checkpoint_best="accuracy", device="cpu", watch=(),
    ).fit()  # fmt: skip
    assert result.best is not None
    assert result.best.epoch in (1, 2)
    assert result.best.value == 0.5


def test_a_disk_that_does_not_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(faults.armed, "saving.best.begun", full)
    result = fit(tmp_path / "run", [], epochs=1)
    assert result.unsaved == {BEST: "the disk is full"}
    assert result.best is None
    monkeypatch.undo()
    assert fit(tmp_path / "run", [], epochs=1, resume="auto").best is not None
