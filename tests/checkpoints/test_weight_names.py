"""A model that was handed over compiled or wrapped has in every file the names that its user gave."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.checkpoints import find
from accel.checkpoints.weights.weight_names import plain_names, unwrap, with_names_of
from accel.parts import Part
from accel.plugins.adamw import AdamW
from accel.plugins.ema import EMA
from accel.plugins.master_weights import MasterWeights
from tests.support.single_process_group import single_process_group


class Net(nn.Module):
    """A part is called `module`, as wrappers call theirs, and a buffer begins infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.register_buffer("mask", torch.tensor([torch.inf]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.module(x).tanh())


NAMES = set(Net().state_dict())


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def with_compiled_part(model: Net) -> Net:
    model.module = compiled(model.module)
    return model


def with_wrapped_part(model: Net) -> Net:
    model.head = nn.DataParallel(model.head)  # type: ignore[assignment]
    return model


WRAPS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda model: model,
    "compiled": compiled,
    "data parallel": nn.DataParallel,
    "ddp": nn.parallel.DistributedDataParallel,
    "compiled ddp": lambda model: compiled(nn.parallel.DistributedDataParallel(model)),
    "ddp compiled": lambda model: nn.parallel.DistributedDataParallel(compiled(model)),
    "compiled part": with_compiled_part,
    "wrapped part": with_wrapped_part,
    "part of both": lambda model: compiled(with_wrapped_part(with_compiled_part(model))),
}


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    with single_process_group(), warnings.catch_warnings():
        yield


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def fit(wrap: Callable[[Any], Any], epochs: int = 2, plugins: tuple[Part, ...] = (), **settings: Any) -> Any:
    torch.manual_seed(0)
    model, points = Net(), torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
    trainer = Trainer(
        wrap(model), TensorDataset(points, points.argmax(1) % 3), loss=cross_entropy, plugins=[AdamW(), EMA(decay=0.5), *plugins],
        watch=(), batch_size=4, epochs=epochs, device="cpu", **settings,
    )  # fmt: skip
    return trainer.fit().model


@pytest.mark.parametrize("wrap", WRAPS)
def test_every_file_has_the_names_of_the_bare_model_and_each_goes_on_with_any(wrap: str, tmp_path: Path) -> None:
    whole = fit(WRAPS["bare"])
    model = fit(WRAPS[wrap], out=tmp_path / "wrapped")
    assert type(model) is Net
    written = load_file(tmp_path / "wrapped/model.safetensors")
    assert written.keys() == NAMES
    assert all(torch.equal(written[name], value) for name, value in whole.state_dict().items())
    state = find(str(tmp_path / "wrapped"), None).state()  # type: ignore[union-attr]
    assert state["model"].keys() == NAMES
    assert state["parts"]["ema"]["average"].keys() == NAMES - {"mask"}
    fit(WRAPS[wrap], epochs=1, out=tmp_path / "first")
    for other in sorted({"bare", wrap}):
        resumed = fit(WRAPS[other], resume=tmp_path / "first", out=tmp_path / f"resumed {other}")
        assert load_file(tmp_path / f"resumed {other}" / "model.safetensors").keys() == NAMES
        assert all(
            torch.equal(value, whole.state_dict()[name]) for name, value in unwrap(resumed).state_dict().items() if other == "bare"
        )


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("old", WRAPS)
def test_a_state_saved_with_any_wrapper_is_loaded_into_any(wrap: str, old: str) -> None:
    saved, model = WRAPS[old](Net()).state_dict(), WRAPS[wrap](Net())
    model.load_state_dict(with_names_of(model, saved))
    assert {plain_names(model).get(name, name) for name in model.state_dict()} == NAMES


def test_master_weights_of_a_compiled_model_go_on_with_the_bare_one(tmp_path: Path) -> None:
    plugins = lambda: (MasterWeights(dtype="bfloat16", force=True),)  # noqa: E731
    fit(compiled, epochs=1, plugins=plugins(), out=tmp_path)
    resumed, whole = fit(WRAPS["bare"], plugins=plugins(), resume=tmp_path), fit(WRAPS["bare"], plugins=plugins())
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in resumed.state_dict().items())
