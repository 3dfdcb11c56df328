"""The bundles that come with accel: lists of plugins with a reason for each choice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from accel import Trainer, compose
from accel.errors import AccelWarning
from accel.parts import Part, Rate
from accel.plugins import BatchLR, ChannelsLast
from accel.testing.toy_run import Spy

ROOT = Path(__file__).parents[3]
BUNDLES = [path.stem for path in sorted((ROOT / "conf/plugins").glob("*.yaml")) if "_target_" not in path.read_text()]


def test_there_are_bundles() -> None:
    assert set(BUNDLES) == {"fast", "large_batch", "low_memory", "vision"}


@pytest.mark.parametrize("name", BUNDLES)
def test_every_choice_has_its_reason(name: str) -> None:
    text = (ROOT / f"conf/plugins/{name}.yaml").read_text()
    assert re.match(rf"# @package plugins\n# {name}: .+\.\n", text)
    for line in text.splitlines():
        if re.match(r"  (- )?\w+", line) and "_self_" not in line:
            assert re.search(r"  # \w.+", line), f"{name}: no reason for {line.strip()!r}"


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.filterwarnings("error")
def test_it_trains_the_digits(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose([f"+plugins=[{name}]", "device=cpu", "epochs=1", "dry_run=true"])
    assert config.fit().updates == 1


def test_what_brings_nothing_here_is_skipped_in_a_bundle_with_the_reason() -> None:
    config = compose(["+plugins=[fast]", "device=cpu"])
    assert "compile" not in config.plugins
    assert config.skipped["compile"].startswith("needs CUDA, and this run is on the CPU")
    assert "stream" not in config.plugins
    assert config.skipped["stream"] == "needs CUDA, and this run is on the CPU (its batches are where they belong)"
    assert "compile" in compose(["+plugins=[fast,compile]", "device=cpu"]).plugins, "by name it is on all the same"


def test_by_name_goes_before_a_bundle() -> None:
    config = compose(["+plugins=[vision,adamw]", "device=cpu"])
    assert config.skipped["sgd"] == "adamw provides Optim"
    assert "pinned" in compose(["+plugins=[fast,pinned]", "device=cpu"]).plugins


def linear(plugins: list[Part], bundled: tuple[str, ...]) -> Trainer:
    batches = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(3)]
    return Trainer(
        nn.Linear(3, 1), batches, loss=lambda model, batch: (model(batch[0]) - batch[1]).square().mean(),
        plugins=plugins, bundled=bundled, watch=(), device="cpu",
    )  # fmt: skip


def test_what_cannot_work_in_this_run_is_left_out_with_the_reason() -> None:
    spy = Spy()
    result = linear([BatchLR(), spy], bundled=("batch_lr",)).fit()  # ready batches have no batch_size
    assert result.updates == 3
    assert type(spy.run.parts.rate) is Rate
    status = {row.plugin: row.status for row in spy.run.plan.rows}
    assert status["batch_lr"] == "skipped: batch_lr needs batch_size, and the data comes in ready batches"


def test_what_has_no_effect_is_told_in_the_plan_and_warns_of_nothing() -> None:
    spy = Spy()
    linear([ChannelsLast(), spy], bundled=("channels_last",)).fit()
    status = {row.plugin: row.status for row in spy.run.plan.rows}
    assert status["channels_last"].startswith("on; channels_last has no effect: the model has no 2-d convolution")
    with pytest.warns(AccelWarning, match="channels_last has no effect"):
        linear([ChannelsLast()], bundled=()).fit()


def test_low_memory_beside_what_it_cannot_stand_beside() -> None:
    result = compose(["+plugins=[low_memory,clip]", "device=cpu", "epochs=1", "dry_run=true"]).trainer(watch=[spy := Spy()]).fit()
    assert result.updates == 1
    status = {row.plugin: row.status for row in spy.run.plan.rows}
    assert status["step_in_backward"].startswith("skipped: step_in_backward has each gradient for itself, and clip limits")
    assert status["recompute"].startswith("on; recompute has no effect")
