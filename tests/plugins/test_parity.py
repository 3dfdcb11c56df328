"""Updates made again in float32 agree where they should, and a fault is named by its layer and its plugin."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn

from accel import Trainer
from accel.errors import AccelWarning, ConfigError, TrainingError
from accel.parts import Clip as ClipPart
from accel.parts import Grads, Precision
from accel.plugins import (
    AMP,
    OOM,
    SGD,
    Accumulate,
    AdamW,
    ChannelsLast,
    Clip,
    Compile,
    MasterWeights,
    OneCycle,
    StepInBackward,
)
from accel.plugins.parity import Parity
from accel.testing import fit_toy
from accel.testing.graph_replay import taped_graph
from accel.testing.toy_run import Toy

PERCENT = ("loss percent", "gradient percent", "step percent")


@dataclass(eq=False)
class Wrong(Precision):
    """Makes the gradient of one layer a quarter too long."""

    layer: str = "1"

    def gradients(self) -> Any:
        for name, param in self.params:
            if name.startswith(self.layer) and param.grad is not None:
                param.grad.mul_(1.25)
        return super().gradients()


@dataclass(eq=False)
class Coarse(Precision):
    """Computes in 16 bits, and does not say that it rounds."""

    context: ClassVar[Any] = torch.autocast("cpu", dtype=torch.bfloat16)

    def cast(self) -> AbstractContextManager[None]:
        return self.context  # type: ignore[no-any-return]


@dataclass(eq=False)
class Tiring(ClipPart):
    """Shortens each gradient more than the last one."""

    calls: ClassVar[int] = 0

    def limit(self, grads: Grads) -> Grads:
        self.calls += 1  # type: ignore[misc]
        grads.divide_by(torch.tensor(float(self.calls)))
        return grads


def compared(*plugins: Any, parity: Parity | None = None, **settings: Any) -> list[dict[str, Any]]:
    """Return the rows of a run of the toy, whose every second update is compared."""
    settings = {"watch": (), "epochs": 2, "batch_size": 4, "seed": 3, "device": "cpu"} | settings
    trainer = Toy(plugins=[*plugins, parity or Parity(every=2, action="raise")], **settings)
    return list(trainer.fit().sections["parity"].rows)


@pytest.mark.parametrize(
    "plugins",
    [
        [],
        [AdamW(weight_decay=0.1), OneCycle(max_lr=0.01, cycle_momentum=True), Clip(max_norm=0.1)],
        [Accumulate(4), Clip(mode="adaptive")],
        [SGD(nesterov=True, weight_decay=1e-3), OOM(), Accumulate(2)],
    ],
    ids=lambda plugins: "+".join(plugin.name for plugin in plugins) or "none",
)
def test_what_is_plain_is_equal_but_for_rounding(plugins: list[Any]) -> None:
    rows = compared(*plugins)
    assert [row["update"] for row in rows] == list(range(2, 2 * len(rows) + 1, 2))
    assert all(row[name] < 1e-3 for row in rows for name in PERCENT)


@pytest.mark.parametrize("precision", [AMP(), AMP(dtype="float16", force=True, init_scale=1024.0), MasterWeights()])
def test_products_in_16_bits_are_as_near_as_they_say(precision: Any) -> None:
    rows = compared(precision)
    assert any(row["gradient percent"] > 1e-3 for row in rows), "they round"


def test_pictures_in_another_layout_and_compiled() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(64, 2))
    data = [(torch.randn(4, 3, 6, 6), torch.randint(2, (4,))) for _ in range(4)]

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    plugins = [ChannelsLast(), Compile(backend="eager"), Parity(every=1, action="raise")]
    result = Trainer(model, data, loss=loss, plugins=plugins, watch=(), device="cpu").fit()
    assert all(row[name] < 0.1 for row in result.sections["parity"].rows for name in PERCENT)


def test_a_loss_by_tokens_has_the_weights_of_its_tokens() -> None:
    def loss(model: nn.Module, batch: Any) -> Any:
        items = int(batch[0, 0].abs() * 10) + 1
        return model(batch).square().mean(), items, {"items": float(items)}

    plugins = [Accumulate(3), Parity(every=1, action="raise")]
    data = list(torch.randn(7, 4, 3))
    result = Trainer(nn.Linear(3, 1), data, loss=loss, batch_size=None, plugins=plugins, watch=(), device="cpu").fit()
    assert [row["update"] for row in result.sections["parity"].rows] == [1, 2, 3]
    assert all(row[name] < 1e-3 for row in result.sections["parity"].rows for name in PERCENT)


def test_the_run_is_to_the_bit_what_it_is_without_it() -> None:
    def moved(*watches: Any) -> list[Tensor]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
        data = list(torch.randn(6, 8, 3))
        plugins = [AMP(), AdamW(), *watches]
        Trainer(model, data, loss=lambda net, x: net(x).square().mean(), plugins=plugins, watch=(), device="cpu").fit()
        return [*model.state_dict().values(), torch.rand(3)]

    without = moved()
    with pytest.warns(AccelWarning, match="amp brings it"):
        assert all(map(torch.equal, without, moved(Parity(every=2, tolerance=1e-9, bisect=True))))
    plugins = [AMP(), AdamW(), Accumulate(2)]
    fresh = [type(plugin)(**plugin.settings) for plugin in plugins]
    assert fit_toy([*plugins, Parity(every=1, bisect=True)]).equals(fit_toy(fresh))


def test_a_fault_is_named_by_its_first_layer() -> None:
    with pytest.raises(TrainingError, match=r"parity: in update 2 the gradient of 1 is 25\.\d+% away from float32"):
        compared(Wrong("1"))
    with pytest.warns(AccelWarning, match="the gradient of 4 is 25"):
        compared(Wrong("4"), parity=Parity(every=2))


def test_a_layer_is_named_once() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compared(Wrong("4"), parity=Parity(every=1))
    assert len(caught) == 1


def test_a_step_that_is_another_is_named() -> None:
    parity = Parity(every=2, bisect=True, action="raise")
    with pytest.raises(TrainingError, match=r"in update 2 the step of 0 is .* the gradients agree, so it is sgd or tiring"):
        compared(SGD(), Tiring(), parity=parity)


def shifted(module: Any, inputs: Any) -> Any:
    """A compiler whose results are half as large again."""
    return lambda *args: tuple(1.5 * out for out in module.forward(*args))


def test_bisection_names_the_plugin() -> None:
    torch._dynamo.register_backend(shifted)
    with pytest.raises(TrainingError, match=r"rounding explains 0\.10%; coarse brings it"):
        compared(Coarse(), Compile(backend="eager"), parity=Parity(every=2, bisect=True, action="raise"))
    with pytest.raises(TrainingError, match="compile brings it"):
        compared(Compile(backend="shifted"), AMP(), parity=Parity(every=2, bisect=True, action="raise"))
    with pytest.raises(TrainingError, match="no plugin of products or layout brings it"):
        compared(Wrong(), parity=Parity(every=2, bisect=True, action="raise"))


def test_skipped_updates_are_not_compared() -> None:
    rows = compared(AMP(dtype="float16", force=True, init_scale=2.0**24), parity=Parity(every=1, action="raise"))
    assert len(rows) < 12


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="step_in_backward has each for itself"):
        compared(StepInBackward())
    with pytest.raises(ConfigError, match="cannot capture"):
        compared(taped_graph())
    with pytest.warns(AccelWarning, match="parity sees nothing: parity.every=100, and the whole run has 12 updates"):
        fit_toy([Parity()])
