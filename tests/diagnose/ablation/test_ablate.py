"""What an ablation finds, on a clock that only work moves; and that it leaves everything as it was."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import accel
from accel import Trainer
from accel.compare import Limits, SpeedRatio
from accel.diagnose.ablation import Ablation, Contribution, bench
from accel.diagnose.ablation.ablated_plugins import judged_by
from accel.diagnose.ablation.trial_request import named_plugins
from accel.errors import ConfigError, TrainingError
from accel.parts import Part
from accel.plugins import AMP, EMA, SGD, Accumulate, ChannelsLast, FoldBN, LowBit, OneCycle, Reparam
from accel.testing.toy_run import Toy
from tests.support.halved_layer import Halve
from tests.support.picture_toy import PictureToy
from tests.support.worked_time import CLOCK, FASTER, SLOWER, Frail, Idle, Needy, Quick, Slow, Still, Timed, time_by_work

pytestmark = pytest.mark.usefixtures("forked_commands")


@pytest.fixture(autouse=True)
def worked_time(monkeypatch: pytest.MonkeyPatch) -> None:
    time_by_work(monkeypatch)
    monkeypatch.setattr(bench, "Limits", partial(Limits, min_rounds=2, step=1))


def ablation(*plugins: Part | str, **options: Any) -> dict[str, Contribution]:
    trainer = Timed(plugins=plugins, watch=(), batch_size=11, seed=3, device="cpu", epochs=2, dropout=0.0)
    return {one.name: one for one in accel.ablate(trainer, **{"seeds": 0, **options}).contributions}


def test_each_plugin_has_the_speed_that_it_brings() -> None:
    by_name = ablation(Slow(), Quick(), Idle())
    assert {name: one.verdict for name, one in by_name.items()} == {"slow": "harmful", "quick": "keep", "idle": "neutral"}
    slow, quick = by_name["slow"], by_name["quick"]
    assert slow.speed is not None
    assert slow.alone is not None
    assert quick.speed is not None
    assert slow.speed.ratio == pytest.approx((1 - FASTER) / (1 - FASTER + SLOWER))
    assert slow.alone.ratio == pytest.approx(1 / (1 + SLOWER))
    assert quick.speed.ratio == pytest.approx((1 + SLOWER) / (1 - FASTER + SLOWER))
    assert quick.speed.low == pytest.approx(quick.speed.high)


def test_what_to_keep_and_what_it_brings() -> None:
    trainer = Timed(plugins=[Slow(), Quick(), Idle()], watch=(), batch_size=4, seed=3, device="cpu")
    lines: list[str] = []
    result = accel.ablate(trainer, seeds=0, report=lines.append)
    assert result.kept == ("quick",)
    assert result.left_out == ("slow", "idle")
    assert result.together is not None
    assert result.kept_speed is not None
    assert result.together.ratio == pytest.approx(1 / (1 - FASTER + SLOWER))
    assert result.kept_speed.ratio == pytest.approx((1 - FASTER + SLOWER) / (1 - FASTER))
    assert [line for line in lines if not line.startswith(" ")][1:4] == ["1 of 3: slow", "2 of 3: quick", "3 of 3: idle"]


def test_one_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"^ablate measures one process, and 2 were started; start it without torchrun$"):
        ablation(Slow())


def test_one_plugin_is_compared_with_none_once() -> None:
    one = ablation(Slow())["slow"]
    assert one.speed is one.alone


def test_plugins_that_belong_together_are_left_out_as_one() -> None:
    by_name = ablation(Slow(), Quick(), Needy(), together=[("needy", "slow")])
    assert list(by_name) == ["needy+slow", "quick"]
    assert by_name["needy+slow"].verdict == "harmful"
    assert by_name["quick"].refusal == ""


@pytest.mark.parametrize("together", ["slow+quick", ["slow", "quick"], ("slow+quick",)])
def test_names_without_a_group_are_refused(together: Any) -> None:
    with pytest.raises(ConfigError, match=r"together is a list of groups of names, such as \[\('onecycle', 'lamb'\)\], not "):
        ablation(Slow(), Quick(), together=together)


def test_what_cannot_be_alone_says_why() -> None:
    by_name = ablation(Slow(), Needy())
    assert by_name["needy"].refusal == "needy alone: needy works beside slow alone; add it"
    assert by_name["needy"].alone is None
    assert by_name["slow"].refusal == "without slow: needy works beside slow alone; add it"
    assert (by_name["slow"].speed, by_name["slow"].verdict) == (None, "harmful")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TrainingError("the loss is not finite"), "the loss is not finite"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the run does not fit in memory"),
        (MemoryError(), "the run does not fit in memory"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_run_that_cannot_go_on_without_a_plugin_says_so(error: Exception, sentence: str) -> None:
    by_name = ablation(Slow(), Frail(error), Quick())
    assert by_name["slow"].refusal == f"without slow: {sentence}"
    assert by_name["frail"].refusal == f"frail alone: {sentence}"
    assert by_name["quick"].verdict == "keep"


def test_what_shapes_the_model_is_judged_by_its_loss_and_what_folds_it_is_in_no_trial() -> None:
    plugins = named_plugins(PictureToy(plugins=[Reparam(), FoldBN(), SGD()], watch=())._request())
    assert list(plugins) == ["reparam", "sgd"]
    assert judged_by(("reparam",), plugins) == "loss"


def test_what_changes_the_model_later_is_said_to_be_in_no_number() -> None:
    for plugin, names in ((Halve(), ("halve",)), (LowBit(keep=[]), ()), (LowBit(kind="bnn", layers=["0"], keep=[]), ("lowbit",))):
        trainer = Timed(plugins=[plugin, Quick()], watch=(), batch_size=11, seed=3, device="cpu", epochs=2, dropout=0.0)
        found = accel.ablate(trainer, seeds=0)
        assert found.changing == names
        line = f"{', '.join(names)}: what changes the model after the first update is in no number here"
        assert (line in repr(found)) == bool(names)


def test_a_recipe_is_judged_by_its_loss_after_equal_time() -> None:
    by_name = ablation(Still(), Quick(), seeds=4, updates=40)
    still, quick = by_name["still"], by_name["quick"]
    assert (still.judged_by, quick.judged_by) == ("loss", "speed")
    assert still.loss is not None
    assert quick.loss is not None
    assert still.loss.is_worse
    assert (still.verdict, quick.verdict) == ("harmful", "keep")
    assert quick.loss.difference == 0, "the same updates from the same state"


def test_equal_time_has_more_updates_of_what_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[frozenset[str], int]] = []
    monkeypatch.setattr(bench.Bench, "losses", lambda self, names, updates, seeds: asked.append((names, updates)) or [1.0] * seeds)
    ablation(Accumulate(2), Quick(), seeds=4, updates=40)
    both, quick = frozenset({"accumulate", "quick"}), frozenset({"quick"})
    assert asked[:2] == [(quick, 80), (both, 40)], "two micro-batches take twice the time"


def test_loss_decides_for_what_only_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = Contribution(("amp",), "speed", SpeedRatio(1.5, 1.4, 1.6, 12))
    assert worse.verdict == "keep"
    smaller = Contribution(("recompute",), "speed", SpeedRatio(0.7, 0.69, 0.71, 12), memory=-300, memory_share=-0.3)
    assert (smaller.verdict, smaller.saves_memory) == ("neutral", True)
    assert Contribution(("x",), "speed").verdict is None


class Counting:
    """A loss that counts its calls, and a model that is given as it is."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        self.calls += 1
        CLOCK.advance(1.0)
        return nn.functional.mse_loss(model(batch[0]), batch[1])


def test_weights_random_numbers_and_attributes_stay_as_they_are(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(16, 1)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = torch.utils.data.TensorDataset(torch.randn(16, 3, 3, 3), torch.randn(16, 1))
    generator = torch.Generator().manual_seed(5)
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, generator=generator)
    loss, plugins = Counting(), [SGD(), EMA(), ChannelsLast(), AMP(), OneCycle()]
    trainer = Trainer(model, loader, data, loss, plugins=plugins, watch=(), out=tmp_path / "run", device="cpu")
    attributes, settings = dict(vars(trainer)), [plugin.settings for plugin in plugins]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), generator.get_state()
    result = accel.ablate(trainer, seeds=1, updates=3)
    assert len(result.contributions) == 5
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), generator.get_state()
    assert torch.equal(states[0], after[0])
    assert states[1:3] == after[1:3]
    assert torch.equal(states[3], after[3])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(param.grad is None and param.is_contiguous() for param in model.parameters())
    assert not model.training
    assert loss.calls == 0
    assert vars(trainer) == attributes
    assert [plugin.settings for plugin in plugins] == settings
    assert not any(tmp_path.iterdir())
    assert trainer.fit().updates == 4, "it can still be trained"


@pytest.mark.parametrize(
    ("plugins", "options", "sentence"),
    [
        ((), {}, "there is no plugin to leave out"),
        (("progress",), {}, "there is no plugin to leave out"),
        (("amp", "ema"), {"together": [("amp", "emma")]}, "together: emma is no plugin of this run; did you mean 'ema'"),
        (("amp", "ema"), {"together": [("amp", "ema"), ("amp",)]}, "together: amp is named twice"),
        (("amp",), {"seeds": -1}, "seeds must be a whole number from 0"),
        (("amp",), {"seconds": 0}, "seconds must be a number above 0"),
        (("adamw", "lamb"), {}, "both provide Optim"),
        ((Needy(),), {}, "needy works beside slow alone"),
    ],
)
def test_what_cannot_work_is_one_sentence(plugins: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        accel.ablate(Toy(plugins=plugins, watch=(), device="cpu"), **options)


def result() -> Ablation:
    trainer = Timed(plugins=[Slow(), Still()], watch=(), batch_size=4, seed=3, device="cpu", epochs=2)
    return accel.ablate(trainer, seeds=3, updates=10)


@pytest.mark.draws
@pytest.mark.slow
def test_the_result_shows_itself(tmp_path: Path) -> None:
    shown = result()
    document = json.loads(json.dumps(shown.to_dict(), allow_nan=False))
    assert (document["schema"], document["kind"]) == (1, "ablation")
    assert [one["verdict"] for one in document["contributions"]] == [one.verdict for one in shown.contributions]
    assert document["contributions"][0]["speed"]["low"] == shown.contributions[0].speed.low  # type: ignore[union-attr]
    text = repr(shown)
    assert "harmful" in text
    assert "keep still; leave out slow" in text
    assert "fewer than 4 seeds tell no difference" in text
    shown.draw(tmp_path / "one.svg")
    shown.draw(tmp_path / "two.svg")
    picture = (tmp_path / "one.svg").read_bytes()
    assert picture == (tmp_path / "two.svg").read_bytes()
    assert b"slow, alone" in picture
    page = shown._repr_html_()
    assert ">slow</td>" in page
    assert "<svg" in page
