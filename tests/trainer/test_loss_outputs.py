"""What a loss may return: a mean, the number of its items, numbers to log; anything else is refused in a sentence."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins import OOM, SGD, Accumulate, StepInBackward
from accel.plugins.metrics import Metrics
from accel.testing import HostReads
from tests.support.short_memory import Hungry

torch.manual_seed(0)
X = torch.randn(10, 8)
Y = (X.sum(1) > 0).long()
ROWS = [(X[start : start + 4], Y[start : start + 4]) for start in (0, 4, 8)]
Pair = namedtuple("Pair", "loss items")


def train(extra: Callable[[Tensor, Tensor], Any], plugins: Any = (), **settings: Any) -> Any:
    """Train on three batches of 4, 4 and 2 samples; `extra(mean, logits)` is what the loss returns."""
    torch.manual_seed(1)
    model = nn.Linear(8, 2)

    def loss(model: nn.Module, batch: Any) -> Any:
        logits = model(batch[0])
        return extra(F.cross_entropy(logits, batch[1]), logits)

    return Trainer(model, ROWS, loss=loss, plugins=[SGD(lr=0.1), *plugins], watch=settings.pop("watch", ()), **settings).fit()


WRONG = {
    "logits": (lambda loss, out: (loss, out), "a tensor of shape .* for n_items; return the loss alone"),
    "nothing": (lambda loss, out: (loss, None), "None for n_items"),
    "text": (lambda loss, out: (loss, "x"), "a str for n_items"),
    "flag": (lambda loss, out: (loss, True), "a bool for n_items"),
    "numpy flag": (lambda loss, out: (loss, np.bool_(True)), "for n_items"),
    "list": (lambda loss, out: (loss, [4]), "a list for n_items"),
    "negative": (lambda loss, out: (loss, -5), "n_items=-5, which must be a number from 0 on"),
    "nan": (lambda loss, out: (loss, float("nan")), "n_items=nan"),
    "infinite": (lambda loss, out: (loss, float("inf")), "n_items=inf"),
    "too many": (lambda loss, out: (loss, 10**30), r"n_items=inf, .* below 2\*\*53"),
    "negative tensor": (lambda loss, out: (loss, torch.tensor(-1)), "n_items=-1"),
    "nan tensor": (lambda loss, out: (loss, torch.tensor(torch.nan)), "n_items=nan"),
    "flag tensor": (lambda loss, out: (loss, torch.tensor(True)), "for n_items"),
    "complex": (lambda loss, out: (loss, 2j), "a complex for n_items"),
    "auxiliary loss": (lambda loss, out: (loss, out.square().mean()), "with a gradient for n_items; add an auxiliary loss"),
    "three": (lambda loss, out: (loss, 4, out), r"\(loss, n_items, a tensor of shape"),
    "three, wrong second": (lambda loss, out: (loss, None, {}), "None for n_items"),
    "logged text": (lambda loss, out: (loss, {"a": "x"}), "logs a str as 'a'; log a number"),
    "logged vector": (lambda loss, out: (loss, {"a": out}), "logs a tensor of shape .* as 'a'"),
    "logged nothing": (lambda loss, out: (loss, 4, {"a": None}), "logs None as 'a'"),
    "reserved name": (lambda loss, out: (loss, {"loss": 1.0}), "logs a number as 'loss'; take a name that is none of epoch, loss"),
    "name that is no text": (lambda loss, out: (loss, {3: 1.0}), "logs a number as 3"),
    "name that is none": (lambda loss, out: (loss, {"": 1.0}), "logs a number as ''"),
    "name that nobody sees": (lambda loss, out: (loss, {" \n": 1.0}), "logs a number as ' "),
    "item": (lambda loss, out: loss.item(), r"returned a float; return a scalar tensor.*, without item\(\)"),
    "per sample": (lambda loss, out: out.sum(1), r"returned a tensor of shape \(4,\); .*: its mean\(\)"),
    "dict": (lambda loss, out: {"logits": out}, "returned a dict without a loss; give the model labels"),
    "detached": (lambda loss, out: loss.detach(), r"without a gradient.*without detach\(\)"),
    "one": (lambda loss, out: (loss,), "a tuple of 1"),
    "four": (lambda loss, out: (loss, 1, 2, 3), "a tuple of 4"),
    "numbers among losses": (lambda loss, out: {"a": loss, "b": 1.0}, "a dict with a float as 'b'; the sum of a dict of scalar"),
    "matrix among losses": (lambda loss, out: {"a": out}, "a dict with a tensor of shape .* as 'a'"),
    "no gradient": (lambda loss, out: {"a": loss, "b": loss.detach()}, "with 'b' among them, which has no gradient; .*the rest"),
    "no losses": (lambda loss, out: {}, "returned a dict"),
}  # fmt: skip


@pytest.mark.parametrize(
    "plugins", [[], [Accumulate(3)], [OOM()], [StepInBackward()]], ids=["plain", "window", "oom", "in backward"]
)
@pytest.mark.parametrize(("extra", "sentence"), WRONG.values(), ids=WRONG)
def test_anything_else_is_refused_before_the_first_update(extra: Any, sentence: str, plugins: list[Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence):
        train(extra, plugins, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*n_items below 1", "ignore:no update moved the weights")
@pytest.mark.parametrize(("extra", "sentence"), WRONG.values(), ids=WRONG)
def test_evaluation_without_metrics_blames_the_loss(extra: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"^loss\(model, batch\) .*{sentence}"):
        train(extra, val=ROWS)


@pytest.mark.parametrize(
    "items", [3, 2.5, np.int64(3), np.float32(2.5), torch.tensor(3), torch.tensor(2.5, dtype=torch.bfloat16), 0]
)
@pytest.mark.filterwarnings("ignore:no update moved the weights, for the loss returned n_items=0")
def test_numbers_of_every_kind_are_items(items: Any) -> None:
    one, two = train(lambda loss, out: (loss, items)), train(lambda loss, out: Pair(loss, items))
    assert one.loss == two.loss
    if float(items) > 0:
        assert one.loss == train(lambda loss, out: loss).loss, "a window of one micro-batch needs no weights"


def test_less_than_one_item_is_rather_an_auxiliary_loss() -> None:
    for items in (0.2, torch.tensor(0.2)):
        with pytest.warns(AccelWarning, match="returns n_items below 1; an auxiliary loss is added to the loss, or logged") as seen:
            train(lambda loss, out, items=items: (loss, items), [Accumulate(2)])  # type: ignore[misc]
        assert len(seen) == 1


def test_the_mean_of_nothing_weighs_nothing() -> None:
    def nothing(loss: Tensor, out: Tensor) -> Any:
        if len(out) == 4:
            return loss, len(out)
        return F.cross_entropy(out, torch.full((len(out),), -100)), 0  # NaN, with gradients of 0

    def halves(loss: Tensor, out: Tensor) -> Any:
        return loss, len(out) if len(out) == 4 else 0

    one, two = train(nothing, [Accumulate(3)]), train(halves, [Accumulate(3)])
    assert one.loss == two.loss
    assert torch.equal(one.model.weight, two.model.weight)


def logged_by(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.out / "metrics.jsonl").read_text().splitlines()]


def both(loss: Tensor, out: Tensor) -> Any:
    return loss, {"size": float(len(out)), "spread": out.std()}


@pytest.mark.parametrize("plugins", [[], [OOM()], [StepInBackward()]], ids=["plain", "oom", "in backward"])
def test_numbers_to_log_stand_beside_the_loss(plugins: list[Any], tmp_path: Path) -> None:
    result = train(both, plugins, watch=[Metrics(curves=False)], out=tmp_path / "run")
    rows = logged_by(result)
    assert [row["size"] for row in rows] == [4, 4, 2]
    assert all(row["spread"] > 0 for row in rows)
    plain = train(lambda loss, out: loss, plugins, watch=[Metrics(curves=False)], out=tmp_path / "plain")
    assert [{**row, "size": 0, "spread": 0} for row in logged_by(plain)] == [{**row, "size": 0, "spread": 0} for row in rows]


@pytest.mark.parametrize(
    ("extra", "weights"),
    [
        (lambda loss, out: (loss, {"size": len(out)}), [4, 4, 2]),
        (lambda loss, out: (loss, len(out) ** 2, {"size": len(out)}), [16, 16, 4]),
        (lambda loss, out: (loss, torch.tensor(5 - len(out)), {"size": torch.tensor(float(len(out)))}), [1, 1, 3]),
        (lambda loss, out: (loss, 0, {"size": torch.tensor(torch.nan)}), None),
    ],
    ids=["samples", "items", "tensors", "nothing"],
)
@pytest.mark.parametrize("plugins", [[], [Hungry(limit=2), OOM()]], ids=["plain", "cut by oom"])
@pytest.mark.filterwarnings("ignore:no update moved the weights, for the loss returned n_items=0")
def test_they_are_means_over_the_window(extra: Any, weights: Any, plugins: list[Any], tmp_path: Path) -> None:
    if plugins and weights:
        sizes = [2, 2, 2, 2, 2]
        weights = [{4: 2, 16: 4, 1: 3}[weights[0]]] * 5
    else:
        sizes = [4, 4, 2]
    if plugins:
        with pytest.warns(UserWarning, match="memory was short"):
            result = train(extra, [Accumulate(3), *plugins], watch=[Metrics(curves=False)], out=tmp_path / "run")
    else:
        result = train(extra, [Accumulate(3)], watch=[Metrics(curves=False)], out=tmp_path / "run")
    expected = np.average(sizes, weights=weights) if weights else 0.0
    assert [row["size"] for row in logged_by(result)] == [pytest.approx(expected, rel=1e-6)]


def test_names_that_come_and_go(tmp_path: Path) -> None:
    def sometimes(loss: Tensor, out: Tensor) -> Any:
        return (loss, {"late": 1.5, "none": torch.nan}) if len(out) == 2 else loss

    rows = logged_by(train(sometimes, watch=[Metrics(curves=False)], out=tmp_path / "run", epochs=2))
    assert [(row.get("late"), row.get("none", 0)) for row in rows] == [(None, 0), (None, 0), (1.5, None)] * 2
    with pytest.raises(ConfigError, match="logs 'late' for a part of the micro-batches of an update; log it for all"):
        train(sometimes, [Accumulate(3)])


def test_they_are_evaluated_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    result = train(both, val=ROWS, watch=("progress",))
    assert result.metrics["size"] == pytest.approx((16 + 16 + 4) / 10)
    assert "size 3.6" in capsys.readouterr().out
    counted = train(lambda loss, out: (loss, 5 - len(out), {"size": len(out)}), val=ROWS)
    assert counted.metrics["size"] == pytest.approx((4 + 4 + 6) / 5)


def test_the_line_of_progress_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    from accel.plugins import Progress

    train(both, [Progress(every=1e-9)])
    assert "size 2" in capsys.readouterr().out


def test_tensorboard_has_them(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(both, ["tensorboard"], out=tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [point.value for point in events.Scalars("train/size")] == [4, 4, 2]


def test_logging_reads_nothing_on_the_host(tmp_path: Path) -> None:
    with HostReads() as reads:
        train(
            lambda loss, out: (loss, torch.tensor(3), {"a": out.std(), "b": 1.0}), [Accumulate(2)], epochs=3,
            watch=[Metrics(curves=False)], out=tmp_path / "run",
        )  # fmt: skip
    assert not [place for place in reads.places if "loss_log" in place or "parts/" in place], reads.places


@pytest.mark.parametrize("items", [None, "x", -1, float("nan"), True])
def test_metrics_have_the_same_rule(items: Any) -> None:
    trainer = Trainer(
        nn.Linear(8, 2), ROWS, ROWS, loss=lambda m, b: m(b[0]).square().mean(), metrics=lambda m, b: ({"a": 1.0}, items), watch=()
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"metrics\(model, batch\) returned .*; return a dict, or \(dict, n_items\)"):
        trainer.fit()


def test_a_dict_of_losses_is_their_sum(tmp_path: Path) -> None:
    """As torchvision's detectors return it, with a number of items too."""
    two: dict[str, Callable[..., Any]] = {
        "dict": lambda loss, out: {"first": loss, "second": out.square().mean()},
        "pair": lambda loss, out: (loss + out.square().mean(), {"first": loss.detach(), "second": out.square().mean().detach()}),
    }
    logs, weights = {}, {}
    for name, extra in two.items():
        result = train(extra, [Accumulate(steps=2)], watch=[Metrics(curves=False)], out=tmp_path / name)
        weights[name] = result.model.weight
        logs[name] = (tmp_path / name / "metrics.jsonl").read_text()
    assert torch.equal(weights["dict"], weights["pair"])
    assert logs["dict"] == logs["pair"]
    assert "second" in logs["dict"]
    counted = train(lambda loss, out: ({"first": loss}, len(out)), [Accumulate(steps=2)])
    assert torch.equal(counted.model.weight, train(lambda loss, out: (loss, len(out)), [Accumulate(steps=2)]).model.weight)


def test_a_dict_of_losses_is_evaluated_by_name() -> None:
    def losses(model: nn.Module, batch: Any) -> dict[str, Tensor]:
        out = model(batch[0])
        return {"a": out.square().mean(), "b": out.sum() * 0}

    result = Trainer(nn.Linear(8, 2), ROWS, ROWS, loss=losses, watch=()).fit()
    assert set(result.metrics) == {"loss", "a", "b"}
    assert result.metrics["loss"] == pytest.approx(result.metrics["a"])


def test_a_model_without_losses_in_evaluation_needs_metrics() -> None:
    """A detector returns boxes there."""

    def losses(model: nn.Module, batch: Any) -> Any:
        return model(batch[0]).mean() if model.training else [{"boxes": X}]

    fix = "; a model that returns its losses in training alone is evaluated by metrics"
    with pytest.raises(ConfigError, match=rf"returned a list; .*{fix}"):
        Trainer(nn.Linear(8, 2), ROWS, ROWS, loss=losses, watch=()).fit()
