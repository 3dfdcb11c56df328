"""What is given in `plugins=` or `watch=` and is no plugin gets a sentence that says what to write in its place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from accel.engine.select_parts import select_parts
from accel.errors import ConfigError
from accel.plugins.amp import AMP
from accel.plugins.onecycle import OneCycle

NET = nn.Linear(2, 1)
OPTIMISER = torch.optim.SGD(NET.parameters(), lr=0.1)


def optimiser_like(name: str) -> type[Any]:
    """A class of another library: it only looks like an optimiser."""
    return type(name, (), {"step": None, "zero_grad": None})


class TrainerCallback:
    """The base of the callbacks of the HF Trainer."""


class PrintsTheLoss(TrainerCallback):
    pass


class Scheduler:
    """The base of the schedules of timm."""

    def step_update(self) -> None: ...


class CosineLRScheduler(Scheduler):
    pass


class LightningLike:
    def on_train_batch_end(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (OPTIMISER, r"SGD is an optimiser, and no plugin; write SGD\(...\) of accel.plugins, or Optimizer\(SGD, ...\) of"),
        (torch.optim.AdamW, r"AdamW is an optimiser, .*; write AdamW\(\.\.\.\) of accel\.plugins"),
        (torch.optim.NAdam(NET.parameters()), r"write AdamW\(\.\.\.\)"),
        (torch.optim.RMSprop(NET.parameters()), r"write Optimizer\(RMSprop, ...\) of accel.plugins"),
        (optimiser_like("PagedAdamW8bit"), r"PagedAdamW8bit is an optimiser.*write AdamW\(\.\.\.\)"),
        (optimiser_like("Lamb")(), r"write LAMB\(\.\.\.\)"),
        (torch.optim.lr_scheduler.OneCycleLR, r"OneCycleLR is a schedule of the learning rate.*write OneCycle\(\.\.\.\)"),
        (torch.optim.lr_scheduler.StepLR(OPTIMISER, 3), r"write Scheduler\(StepLR, ...\) of accel.plugins"),
        (CosineLRScheduler(), r"schedule of the learning rate.*write Cosine\(\.\.\.\)"),
        (torch.amp.GradScaler("cpu", enabled=False), r"GradScaler is a scaler.*; write AMP\(dtype=\"float16\"\) of accel\.plugins"),
        (PrintsTheLoss(), "PrintsTheLoss is a callback, and no plugin; make a plugin of it .a subclass of accel.parts.Watch"),
        (LightningLike, "LightningLike is a callback"),
        (NET, "Linear is a model, and no plugin; pass it by its own argument"),
        (TensorDataset(torch.zeros(1)), "TensorDataset is data"),
        (print, "print is a function, and no plugin; give an instance of one"),
        (AMP, r"AMP is not a plugin: .*; write AMP\(\)"),
        (3, "a int is no plugin"),
        (None, "None is no plugin"),
        ("lmb", "did you mean 'lamb' or 'lmdb'"),
    ],
)  # fmt: skip
def test_an_object_that_is_no_plugin(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        select_parts([given])
    with pytest.raises(ConfigError, match=says):
        select_parts([], [given])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("amp", r"plugins must be a list of plugins, such as \['amp'\], not 'amp'"),
        (AMP(), r"must be a list of plugins, such as \[AMP\(\)\], not a AMP"),
        (AMP, r"such as \[AMP\(\)\], not the class AMP"),
        (None, "must be a list of plugins, such as .*, not None"),
        ({"amp": {}}, "not a dict"),
        (OPTIMISER, "not a SGD"),
    ],
)
def test_what_is_no_list(given: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        select_parts(given)
    with pytest.raises(ConfigError, match=says.replace("plugins must", "watch must")):
        select_parts([], given)


def test_a_name_that_is_on_is_not_suggested() -> None:
    with pytest.raises(ConfigError, match=r"'map'; did you mean 'amp'\?"):
        select_parts(["ema", "map"])
    with pytest.raises(ConfigError, match="'ampp'; amp is on already"):
        select_parts(["amp", "ampp"])


@pytest.mark.parametrize("given", [["amp", "amp"], [AMP(), AMP()], ["amp", AMP()], [OneCycle(max_lr=1.0), "onecycle"]])
def test_a_plugin_that_is_given_twice(given: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"the plugin (amp|onecycle) is given twice; keep one"):
        select_parts(given)
