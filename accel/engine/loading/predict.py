"""Predictions of a loaded model, as rows of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from accel.data.batches.collation import collate_samples
from accel.data.batches.structure import count_classes
from accel.data.loaders.device_copy import map_tensors
from accel.engine.task import Task
from accel.errors import ConfigError, describe

__all__ = ["MOST_VALUES", "Predictor", "class_names"]

MOST_VALUES = 100
"""Numbers of one prediction that make columns of a table, at most."""


class Predictor:
    """Predictor of a task's samples.

    Args:
        task: the task, which says what a batch of samples is predicted to be.
        model: its model, in evaluation mode.
        device: of the model.
        top: number of classes of each sample, the likeliest first; None for one, if it predicts classes at all.
    """

    def __init__(self, task: Task, model: nn.Module, device: torch.device, top: int | None = None) -> None:
        self.task, self.model, self.device, self.top = task, model, device, top
        self.classes = class_names(task)

    def rows(self, samples: Sequence[Any]) -> list[dict[str, Any]]:
        """Return the prediction of each sample: `class` and `probability` (and `class_2` ...), `value`, or the task's own columns.

        Args:
            samples: what `Task.sample_of` returned, at least one.

        Raises:
            ConfigError: for samples that make no batch, or for what is no prediction of each.
        """
        collate = self.task.collate or default_collate
        batch = collate_samples(collate, list(samples), range(1, len(samples) + 1), "input")
        with torch.inference_mode():
            batch = map_tensors(batch, lambda tensor: tensor.to(self.device))
            output = self.task.predict(self.model, batch)
        if isinstance(output, Tensor):
            return self._tensor_rows(output, len(samples))
        rows = list(output) if isinstance(output, list | tuple) else []
        if len(rows) != len(samples) or not all(isinstance(row, Mapping) for row in rows):
            raise ConfigError(self._refusal(output, len(samples)))
        self._refuse_top()
        return [{str(name): _plain(value) for name, value in row.items()} for row in rows]

    def _tensor_rows(self, output: Tensor, count: int) -> list[dict[str, Any]]:
        """Return the rows of scores, or of other numbers."""
        if output.dim() == 0 or len(output) != count or output.dim() > 2 or output[0].numel() > max(MOST_VALUES, len(self.classes)):
            raise ConfigError(self._refusal(output, count))
        numbers = output.detach().cpu().double().reshape(count, -1)
        if self.classes and output.is_floating_point() and numbers.shape[1] == len(self.classes):
            return [self._likeliest(*one) for one in zip(*_sorted(numbers.softmax(1), self.top or 1), strict=True)]
        self._refuse_top()
        names = ["value"] if numbers.shape[1] == 1 else [f"value_{number}" for number in range(1, numbers.shape[1] + 1)]
        values = numbers.tolist() if output.is_floating_point() else output.reshape(count, -1).tolist()
        return [dict(zip(names, row, strict=True)) for row in values]

    def _likeliest(self, probabilities: list[float], places: list[int]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        for rank, (probability, place) in enumerate(zip(probabilities, places, strict=True), start=1):
            ending = "" if rank == 1 else f"_{rank}"
            row |= {f"class{ending}": self.classes[place], f"probability{ending}": probability}
        return row

    def _refuse_top(self) -> None:
        """Raise ConfigError if classes were asked for, where there are none."""
        if self.top is not None:
            raise ConfigError(f"top={self.top} has no effect: {type(self.task).__name__} predicts no classes; leave it out")

    def _refusal(self, output: Any, count: int) -> str:
        return (
            f"{type(self.task).__name__}.predict(model, batch) returned {describe(output)} for {count} samples; return scores "
            f"(n, classes), numbers (n,) or (n, k), or a list of n dicts of plain values"
        )


def class_names(task: Task) -> list[str]:
    """Return the names of a task's classes, in the order of the scores: numbers if they have none; empty without classes."""
    known = (task.metadata() if task.saved_metadata is None else task.saved_metadata).get("classes")
    return list(known) if known else [str(number) for number in range(count_classes(task) or 0)]


def _sorted(probabilities: Tensor, top: int) -> tuple[list[list[float]], list[list[int]]]:
    """Return the largest probabilities of each row and their places, the first of equals first."""
    values, places = probabilities.sort(dim=1, descending=True, stable=True)
    return values[:, :top].tolist(), places[:, :top].tolist()


def _plain(value: Any) -> Any:
    """Return a tensor as a number, or a list of numbers, and any other value as it is."""
    return value.tolist() if isinstance(value, Tensor) else value
