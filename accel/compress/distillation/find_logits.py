"""The logits in what a model returned, and the positions of them that count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from accel.compress.distillation.call_recorder import Call
from accel.errors import ConfigError, describe

__all__ = ["IGNORED", "Logits", "check_classes", "check_items", "find_logits", "outputs_of", "read_logits"]

IGNORED = -100
"""Label of a position that does not count, as of `F.cross_entropy`."""
DEFINE = "define logits_of(outputs, batch) in the task, which returns (..., classes)"


class Logits(NamedTuple):
    """Logits, with the classes in the last dimension."""

    values: Tensor
    """(..., classes), floating point."""
    counted: Tensor | None
    """(...) bool: the positions that count; None for all."""


def outputs_of(calls: list[Call]) -> Any:
    """Return what the model returned to the loss, in a list where it was called several times."""
    return calls[0].output if len(calls) == 1 else [call.output for call in calls]


def read_logits(given: Any) -> Logits:
    """Return what the user's `logits_of` returned. Raise ConfigError if it is neither logits nor (logits, counted)."""
    values, counted = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.dim() < 2:
        raise ConfigError(
            f"logits_of(outputs, batch) returned {describe(given)}; return logits, (..., classes), or (logits, counted)"
        )
    if counted is not None and (not isinstance(counted, Tensor) or counted.shape != values.shape[:-1]):
        raise ConfigError(
            f"logits_of(outputs, batch) returned {describe(counted)} for what counts; return a bool tensor of "
            f"{tuple(values.shape[:-1])}"
        )
    return Logits(values, counted)


def find_logits(calls: list[Call], batch: Any, owner: str) -> Logits:
    """Return the logits of the one call of the model in a loss, and which of them the labels in the batch leave out (-100).

    The classes are in the last dimension, or in the second where the labels say so, as for `F.cross_entropy`.

    Args:
        calls: the calls.
        batch: the batch.
        owner: whose output it is, for messages.

    Raises:
        ConfigError: if the loss did not call the model once, or its output leaves open which tensor has the logits, or how.
    """
    if len(calls) != 1:
        times = f"{len(calls)} times" if calls else "not at all, or only parts of it"
        raise ConfigError(f"distill: the loss calls the model {times}, so that its logits cannot be told; {DEFINE}")
    output = calls[0].output
    values = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", output)
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.dim() < 2:
        raise ConfigError(f"distill: {owner} returns {describe(output)}, in which the logits cannot be told; {DEFINE}")
    labels = _labels(batch)
    if values.dim() == 2:
        fits = labels is not None and not labels.is_floating_point() and labels.shape == values.shape[:1]
        return Logits(values, labels != IGNORED if labels is not None and fits else None)
    if labels is None:
        raise ConfigError(
            f"distill: in logits of {tuple(values.shape)} of {owner} it cannot tell the dimension of the classes; {DEFINE}"
        )
    if labels.is_floating_point() and labels.shape == values.shape:  # probabilities
        return Logits(values.movedim(1, -1), None)
    if labels.shape == values.shape[:-1]:
        return Logits(values, labels != IGNORED)
    if labels.shape == (values.shape[0], *values.shape[2:]):
        return Logits(values.movedim(1, -1), labels != IGNORED)
    raise ConfigError(f"distill: labels of {tuple(labels.shape)} do not fit logits of {tuple(values.shape)} of {owner}; {DEFINE}")


def check_classes(student: Tensor, teacher: Tensor, owner: str) -> None:
    """Compare the shapes of the logits of student and teacher, (..., classes).

    Args:
        student: of the student.
        teacher: of the teacher.
        owner: the setting that names the teacher, for the message.

    Raises:
        ConfigError: if they differ.
    """
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ConfigError(
            f"{owner} gives logits of {tuple(teacher.shape)}, and the model of {tuple(student.shape)}; take a teacher of "
            "the same task"
        )
    if student.shape[-1] != teacher.shape[-1]:
        raise ConfigError(
            f"{owner} knows {teacher.shape[-1]:,} classes, and the model {student.shape[-1]:,}; take a teacher of the same classes"
        )


def check_items(logits: Logits, items: Any) -> None:
    """Compare the number of items of a loss with the positions that count. It waits for the device: for a first update.

    Args:
        logits: the logits.
        items: number of items, int or 0-dim tensor; None for one per sample.

    Raises:
        ConfigError: if they differ: the loss counts by something that the logits do not tell.
    """
    if items is None:
        return
    positions = logits.values.shape[:-1].numel() if logits.counted is None else _number(logits.counted.sum())
    if _number(items) != positions:
        raise ConfigError(
            f"distill: the loss is a mean over {_number(items):,} items, and the logits have {positions:,} positions that count; "
            "define logits_of(outputs, batch) in the task, which returns (logits, counted)"
        )


def _labels(batch: Any) -> Tensor | None:
    """Return the labels of a batch that is a pair of inputs and labels, or has them by that name; None for any other."""
    labels = None
    if isinstance(batch, Mapping):
        labels = batch.get("labels")
    elif isinstance(batch, list | tuple) and len(batch) > 1:
        labels = batch[1]
    return labels if isinstance(labels, Tensor) else None


def _number(value: Any) -> int:
    """Return a number of items on the host. In the host's memory it is read without an operation of torch's."""
    return int(value.detach().cpu().numpy()) if isinstance(value, Tensor) else int(value)
