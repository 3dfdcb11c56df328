"""The Python interface: losses, models and metrics of every kind, and those that cannot be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins.amp import AMP
from tests.support.stream_datasets import POINTS, fit, loss


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (lambda x: x.mean().detach(), r"returned a tensor without a gradient: no trained weight has a part in it"),
        (lambda x: (x.mean(), torch.ones(1)), r"returned a tensor of shape \(1,\) for n_items; return the loss alone, "),
    ],
    ids=["detached", "items"],
)
def test_a_loss_that_cannot_be_trained_on(value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: value(model(x)), watch=()).fit()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.ReLU, r"model\(\) returned the class ReLU; return an instance of a torch.nn.Module"),
        (lambda: nn.Linear(2, 1), r"model\(\) returned a function; return an instance"),
        (nn.Sequential(nn.LazyLinear(1)), r"the model's 0.weight has no shape yet; call the model once on a batch"),
        (nn.Linear(2, 1, device="meta"), r"the model's weight is on the meta device, without numbers"),
    ],
    ids=["class", "function", "lazy", "meta"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_a_model_that_is_none_or_is_not_there_yet(model: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Trainer(model, [POINTS], loss=loss, watch=()).fit()


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (torch.no_grad, r"inside torch.no_grad\(\) or inference_mode\(\)"),
        (torch.inference_mode, r"inside torch.no_grad\(\) or inference_mode\(\)"),
        (lambda: torch.autocast("cpu", torch.bfloat16), "inside torch.autocast, which keeps the first update's 16-bit weights"),
    ],
)
def test_modes_in_which_nothing_is_trained_right(mode: Any, sentence: str) -> None:
    with mode(), pytest.raises(ConfigError, match=sentence):
        fit([POINTS])


def test_a_gradient_from_before_has_no_part_in_the_run() -> None:
    def train(spoiled: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        if spoiled:
            loss(model, POINTS).backward()
        return Trainer(model, [POINTS], loss=loss, watch=()).fit().model.weight

    assert torch.equal(train(True), train(False))


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (lambda: 1.0, r"metrics\(model, batch\) returned a float; return a dict, or \(dict, n_items\)"),
        (lambda: None, "returned None; return a dict"),
        (lambda: ({"a": 1.0}, 1, 2), "returned a tuple of 3; return a dict"),
        (lambda: {"a": "high"}, "returned a str for 'a'; return a number or a 0-dim tensor"),
        (lambda: {"a": torch.ones(2)}, r"returned a tensor of shape \(2,\) for 'a'"),
        (lambda: {"a": POINTS}, r"returned a tensor of shape \(10, 2\) for 'a'"),
        (lambda: {"a": None}, "returned None for 'a'"),
        (lambda: {"epoch": 1.0}, "returned 'epoch', by which the results are numbered"),
    ],
)
def test_metrics_that_are_none(value: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        fit([POINTS], val=[POINTS], metrics=lambda model, batch: value())


@pytest.mark.filterwarnings("ignore:data is a list")
def test_metrics_of_every_kind_of_number() -> None:
    numbers = {"int": 2, "bool": True, "numpy": np.float32(0.5), "tensor": torch.tensor([3]), "double": torch.tensor(0.1).double()}
    result = fit([POINTS], val=[POINTS] * 2, metrics=lambda model, batch: numbers)
    assert result.metrics == {name: float(number) for name, number in numbers.items()}


def test_a_metric_of_some_batches_is_a_mean_over_those() -> None:
    val = [torch.ones(1, 2), torch.zeros(3, 2), torch.ones(2, 2)]
    result = fit([POINTS], val=val, metrics=lambda model, x: {"all": 1.0, **({"some": float(len(x))} if x.any() else {})})
    assert result.metrics == {"all": 1.0, "some": (1 * 1 + 2 * 2) / 3}


@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_a_batch_without_items_has_no_part_in_the_metrics(kind: Any) -> None:
    val = DataLoader([(torch.nan, kind(0)), (2.0, kind(3))], batch_size=None)  # type: ignore[arg-type]
    assert fit([POINTS], val=val, metrics=lambda model, batch: ({"value": batch[0]}, batch[1])).metrics == {"value": 2.0}


class Odd(nn.Module):
    """Tied weights, a buffer inside another, a sparse one, an empty one, and a state that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.register_buffer("rows", torch.arange(6.0)[:4])
        self.register_buffer("part", self.get_buffer("rows")[1:3])
        self.register_buffer("sparse", torch.eye(2).to_sparse())
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.two(self.one(x))
        return result

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_no_model_is_too_odd_for_the_end_of_its_run(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    with pytest.warns(AccelWarning) as warned:
        result = Trainer(Odd(), [POINTS], loss=loss, watch=(), out=tmp_path / "run").fit()
    assert [str(warning.message).partition(",")[0] for warning in warned] == [
        "model.safetensors is without sparse", "model.safetensors is without _extra_state"
    ]  # fmt: skip
    assert sorted(load_file(result.out / "model.safetensors")) == ["empty", "one.bias", "one.weight", "part", "rows", "two.bias"]
    with pytest.warns(AccelWarning):
        again = Trainer(Odd(), [POINTS], loss=loss, watch=(), resume=tmp_path / "run").fit()
    assert torch.equal(again.model.one.weight, result.model.one.weight)


def test_whatever_torchs_default_device_is(tmp_path: Path) -> None:
    # meta stands for a default of cuda: what is made there by mistake fails
    model = nn.Linear(2, 1)
    torch.set_default_device("meta")
    try:
        result = Trainer(
            model, TensorDataset(POINTS), [POINTS], loss, watch=("metrics",), out=tmp_path / "run", device="cpu", batch_size=3,
            plugins=["adamw", "clip", "ema", "accumulate", AMP(dtype="float16", force=True)],
        ).fit()  # fmt: skip
    finally:
        torch.set_default_device(None)
    assert result.metrics["loss"] > 0


def test_what_the_first_update_refuses_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for out in ("one", "two/deep/run", "mine/run"):
        with pytest.raises(ConfigError, match="return a scalar tensor"):
            Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: model(x), watch=("metrics",), out=out).fit()
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["mine"]


def test_a_refusal_after_the_first_update_loses_nothing(tmp_path: Path) -> None:
    def late(model: nn.Module, x: Tensor) -> Any:
        return loss(model, x) if len(x) == 10 else 1.0

    with pytest.raises(ConfigError):
        Trainer(nn.Linear(2, 1), [POINTS, POINTS[:3]], loss=late, watch=(), out=tmp_path / "run", checkpoint_every=1).fit()
    assert list((tmp_path / "run/checkpoints").glob("*.pt"))


def test_a_directory_that_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError):
        Trainer(nn.Linear(2, 1), [POINTS], loss=lambda model, x: model(x), watch=(), out=tmp_path).fit()
    assert (tmp_path / "notes.txt").exists()
