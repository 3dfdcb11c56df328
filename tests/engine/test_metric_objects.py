"""Metrics may be objects with update, compute and reset, or (sum, count) pairs; a task may add numbers at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.errors import ConfigError
from accel.plugins import OOM, SGD, Accumulate
from tests.support.macro_f1 import MacroF1

torch.manual_seed(3)
X = torch.randn(50, 4)
Y = (X @ torch.randn(4, 3)).argmax(1)
ROWS = [(x, y) for x, y in zip(X, Y, strict=True)]


class Task(Trainer):
    """Three classes of points; in evaluation whatever `measured` gives."""

    def __init__(self, **run: Any) -> None:
        self.f1 = MacroF1(3)
        super().__init__(nn.Linear(4, 3), ROWS, ROWS[:23], batch_size=7, watch=(), **run)

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def metrics(self, model: nn.Module, batch: Any) -> Any:
        self.f1.update(model(batch[0]).argmax(1), batch[1])
        return {"f1": self.f1}


def whole(model: nn.Module) -> float:
    metric = MacroF1(3)
    metric.update(model(X[:23]).argmax(1), Y[:23])
    return metric.compute()


@pytest.mark.parametrize("plugins", [[], [Accumulate(2)], [OOM()]], ids=["plain", "window", "oom"])
def test_an_object_is_computed_once_over_all_batches(plugins: list[Any], tmp_path: Path) -> None:
    task = Task(plugins=plugins, epochs=3, out=tmp_path)
    result = task.fit()
    assert result.metrics["f1"] == whole(result.model)
    assert len(result.history) == 3, "and is reset before each evaluation"
    assert not task.f1.hits.any(), "a checkpoint has none of its state"


def test_torchmetrics_f1_is_that_over_the_whole_set() -> None:
    classification = pytest.importorskip("torchmetrics.classification")

    class Torchmetrics(Task):
        score: Any

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            self.score.update(model(batch[0]), batch[1])
            return {"f1": self.score}

    task = Torchmetrics(epochs=2)
    task.score = classification.MulticlassF1Score(3)
    result = task.fit()
    assert result.metrics["f1"] == pytest.approx(float(classification.MulticlassF1Score(3)(result.model(X[:23]), Y[:23])))


def test_a_pair_weighs_by_its_own_count() -> None:
    def metrics(model: nn.Module, batch: Any) -> dict[str, Any]:
        right, chosen = model(batch[0]).argmax(1) == batch[1], batch[1] == 1
        return {
            "recall": ((right & chosen).sum(), chosen.sum()), "host": (float(right.sum()), len(right)),
            "mean": right.double().mean(), "none": (float("nan"), 0),
        }  # fmt: skip

    task = Task(epochs=1)
    task.metrics = metrics  # type: ignore[method-assign]
    result = task.fit()
    right, chosen = result.model(X[:23]).argmax(1) == Y[:23], Y[:23] == 1
    assert result.metrics["recall"] == pytest.approx(float((right & chosen).sum() / chosen.sum()))
    assert result.metrics["host"] == pytest.approx(result.metrics["mean"]) == pytest.approx(float(right.double().mean()))
    assert result.metrics["none"] != result.metrics["none"], "a mean of nothing is no number"


class Several:
    """Metric object with a dict of results."""

    def __init__(self, results: Any) -> None:
        self.results, self.count = results, 0

    def update(self, number: int) -> None:
        self.count += number

    def compute(self) -> Any:
        return self.results(self.count)

    def reset(self) -> None:
        self.count = 0


def evaluate(results: Any, name: str | None = "a") -> dict[str, float]:
    class Own(Task):
        several = Several(results)

        def metrics(self, model: nn.Module, batch: Any) -> Any:
            self.several.update(len(batch[0]))
            return self.several if name is None else {name: self.several}

    return Own(epochs=1).fit().metrics


def test_results_are_numbers_or_dicts_of_them() -> None:
    assert evaluate(lambda n: torch.tensor([n])) == {"a": 23.0}
    assert evaluate(lambda n: {"x": n, "y": torch.tensor(2 * n)}) == {"a_x": 23.0, "a_y": 46.0}
    assert evaluate(lambda n: {"x": n}, None) == {"x": 23.0}, "an object alone names its results itself"


@pytest.mark.parametrize(
    ("results", "name", "sentence"),
    [
        (lambda n: torch.zeros(3), "a", r"a tensor of shape \(3,\) for 'a'; let it average"),
        (lambda n: {"x": "text"}, "a", "a str for 'a_x'; let it average"),
        (lambda n: None, "a", "None for 'a'; let it average"),
        (lambda n: n, "epoch", "'epoch', by which the results are numbered"),
        (lambda n: n, None, "'' names no result, or two"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_before_the_first_update(results: Any, name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        evaluate(results, name)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ((1.0, 2, 3), r"a tuple of 3 for 'a'; a pair is \(sum, count\)"),
        ((1.0, -1), r"n_items=-1, which must be a number from 0 on"),
        ((torch.zeros(2), 1), r"a tensor of shape \(2,\) for 'a'; a pair is"),
        ((1.0, None), r"None for n_items; a pair is"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_refused(value: Any, sentence: str) -> None:
    task = Task(epochs=1)
    task.metrics = lambda model, batch: {"a": value}  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=sentence):
        task.fit()


class Counter:
    """Metric object without `reset`."""

    def update(self) -> None: ...

    def compute(self) -> float:
        return 0.5


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (Counter(), r"a Counter for 'a', a metric object without reset\(\); give it that"),
        (MacroF1, "the class MacroF1 for 'a'; make one, and keep it"),
    ],
)
def test_what_is_nearly_an_object_is_told_what_it_lacks(value: Any, sentence: str) -> None:
    task = Task(epochs=1)
    task.metrics = lambda model, batch: {"a": value}  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=sentence):
        task.fit()


class Collector(Task):
    """Collects labels over an evaluation, and counts them at its end."""

    def __init__(self, **run: Any) -> None:
        super().__init__(**run)
        self.labels = list[int]()

    def metrics(self, model: nn.Module, batch: Any) -> dict[str, Any]:
        self.labels += batch[1].tolist()
        return {"mean": batch[1].float().mean()}

    def evaluated(self, metrics: dict[str, float]) -> dict[str, float]:  # type: ignore[override]
        collected, self.labels = self.labels, []
        return {"labels": len(collected), "sum": metrics["mean"] * len(collected)}


def test_a_task_adds_numbers_at_the_end(tmp_path: Path) -> None:
    result = Collector(epochs=2, out=tmp_path, checkpoint_best="max:sum").fit()
    assert result.metrics["labels"] == 23, "the trial of the evaluation has left nothing in the list"
    assert result.metrics["sum"] == pytest.approx(int(Y[:23].sum()))
    assert result.best is not None


@pytest.mark.parametrize(("more", "sentence"), [([1], "a list; return a dict"), ({"a": "x"}, "a str for 'a'")])
def test_what_it_adds_are_numbers(more: Any, sentence: str) -> None:
    task = Task(epochs=1)
    task.evaluated = lambda metrics: more
    with pytest.raises(ConfigError, match=rf"evaluated\(metrics\) returned {sentence}"):
        task.fit()


def test_it_may_add_nothing() -> None:
    task = Task(epochs=1, plugins=[SGD(lr=0.1)])
    task.evaluated = lambda metrics: None
    assert list(task.fit().metrics) == ["f1"]


@pytest.mark.parametrize("name", ["", " ", "\n"])
@pytest.mark.parametrize("place", ["metrics", "evaluated"])
def test_a_name_that_nobody_would_see_is_refused(name: str, place: str) -> None:
    class Nameless(Task):
        def metrics(self, model: nn.Module, batch: Any) -> Any:
            return {name if place == "metrics" else "a": 1.0}

        def evaluated(self, metrics: dict[str, float]) -> dict[str, float]:
            return {name: 1.0} if place == "evaluated" else {}

    with pytest.raises(ConfigError, match=rf"{place}\(.*\) returned a number under the name '.*', which nobody would see"):
        Nameless().fit()


def test_a_number_as_a_name_is_its_text(tmp_path: Path) -> None:
    class Numbered(Task):
        def metrics(self, model: nn.Module, batch: Any) -> Any:
            return {1: 0.5}

    assert Numbered(out=tmp_path).fit().metrics == {"1": 0.5}
