"""Results of the user's loss and metrics, checked: a mean, the number of its items, numbers to log."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from accel.errors import ConfigError, describe
from accel.parts.shared.loss_forms.loss_dicts import split_returned
from accel.system.call_stack import warn_user

__all__ = [
    "FORMS", "MAX_ITEMS", "RESERVED", "LoggedMeans", "LossMetrics", "LossOutput", "check_items", "check_logged", "loss_metrics",
    "refuse_single_sample", "split_loss", "split_metrics",
]  # fmt: skip

RESERVED = ("epoch", "loss", "lr", "samples", "skipped", "update")
"""Names of the numbers that every update has."""
MAX_ITEMS = 2**53
"""Number of items from which on float64 does not hold each whole number."""
FORMS = "return the loss alone, (loss, n_items), (loss, {name: number}) or (loss, n_items, {name: number})"


class LossOutput(NamedTuple):
    """Parts of what a loss returns."""

    loss: Tensor
    """The mean over the items, 0-dim."""
    items: Any
    """Number of items, a number or a 0-dim tensor; None for one per sample."""
    logged: dict[str, Any]
    """Numbers to log by name, each a float or a 0-dim tensor without a gradient: means over the same items."""


def split_loss(out: Any, origin: str = "loss(model, batch) returned") -> LossOutput:
    """Return the parts of what `loss(model, batch)` returned. `origin` says so, or otherwise, in errors.

    In the place of the loss may stand a dict of losses by name, as the detectors of torchvision return them in training: their
    sum is minimised, and each is logged.

    Raises:
        ConfigError: for a loss that is no scalar, or that no trained weight has a part in; for anything else beside it.
    """
    loss, rest = split_returned(out, origin)
    if not isinstance(loss, Tensor) or loss.dim() or not loss.is_floating_point():
        raise ConfigError(f"{origin} {describe(loss)}; return a scalar tensor, the mean over the batch{_loss_hint(loss)}")
    if not loss.requires_grad:
        raise ConfigError(
            f"{origin} a tensor without a gradient: no trained weight has a part in it; compute it from the model's "
            "output, without detach(), no_grad() or argmax()"
        )
    if not rest:
        return LossOutput(loss, None, {})
    if len(rest) == 1 and isinstance(rest[0], Mapping):
        return LossOutput(loss, None, check_logged(rest[0]))
    items = check_items(rest[0], "loss", FORMS)
    if len(rest) == 2 and not isinstance(rest[1], Mapping):
        raise ConfigError(f"{origin} (loss, n_items, {describe(rest[1])}); {FORMS}")
    return LossOutput(loss, items, check_logged(rest[1]) if len(rest) == 2 else {})


class LossMetrics(NamedTuple):
    """Metrics made of the result of a loss with a number of items, which are checked already."""

    values: dict[str, Any]
    """The loss and the numbers that it logs, by name."""
    items: Any
    """Number of items, a number or a 0-dim tensor."""


def split_metrics(out: Any) -> tuple[Mapping[str, Any], Any]:
    """Return the dict and the number of items (None for one per sample) that `metrics(model, batch)` returned.

    Raises:
        ConfigError: for anything but a dict, or a dict and the number of its items.
    """
    if isinstance(out, LossMetrics):
        return out
    pair = isinstance(out, tuple) and len(out) == 2
    values, items = out if pair else (out, None)
    if all(callable(getattr(values, name, None)) for name in ("update", "compute", "reset")):
        values = {"": values}  # one metric object, whose results have names of their own
    if not isinstance(values, Mapping):
        raise ConfigError(f"metrics(model, batch) returned {describe(values)}; return a dict, or (dict, n_items)")
    if pair:
        check_items(items, "metrics", "return a dict, or (dict, n_items)")
    return values, items


def loss_metrics(out: Any) -> Any:
    """Return what `loss(model, batch)` returned as metrics: the loss and the numbers that it logs, with its number of items.

    Raises:
        ConfigError: for a loss that is no number, and for anything else beside it.
    """
    loss, rest = split_returned(out, "loss(model, batch) returned", trains=False)
    if not isinstance(loss, Real) and (not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex()):
        raise ConfigError(
            f"loss(model, batch) returned {describe(loss)}; return a scalar tensor, the mean over the batch{_loss_hint(loss)}"
        )
    if not rest or isinstance(rest[0], Mapping):
        return {"loss": loss, **check_logged(rest[0] if rest else {})}
    items = check_items(rest[0], "loss", FORMS)
    if len(rest) == 2 and not isinstance(rest[1], Mapping):
        raise ConfigError(f"loss(model, batch) returned (loss, n_items, {describe(rest[1])}); {FORMS}")
    return LossMetrics({"loss": loss, **check_logged(rest[1] if len(rest) == 2 else {})}, items)


class LoggedMeans:
    """Means of the numbers that a loss logs, over the micro-batches of one window and with the weights of their losses.

    They are those of this rank: no number is exchanged for them.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Any] | None = None

    def add(self, values: dict[str, Any], weight: Tensor, whole: bool) -> None:
        """Add the numbers of a micro-batch. Nothing is read on the host.

        Args:
            values: floats or 0-dim tensors, by name.
            weight: weight of its loss, 0-dim.
            whole: whether it is the whole window.

        Raises:
            ConfigError: if the window logged other names before.
        """
        if not whole:
            values = {name: (weight * value).masked_fill(weight == 0, 0.0) for name, value in values.items()}
        if self.sums is None:
            self.sums = values
        elif self.sums.keys() != values.keys():
            name = sorted(self.sums.keys() ^ values.keys())[0]
            raise ConfigError(f"loss(model, batch) logs {name!r} for a part of the micro-batches of an update; log it for all")
        else:
            self.sums = {name: self.sums[name] + value for name, value in values.items()}

    def means(self, total: Tensor | None) -> dict[str, Any]:
        """Return the means. `total` is the sum of all weights, 0-dim; None if that is 1."""
        sums = self.sums or {}
        if total is None or not sums:
            return sums
        divisor = torch.where(total == 0, 1.0, total)
        return {name: value / divisor if isinstance(value, Tensor) else value for name, value in sums.items()}


def check_items(items: Any, owner: str, fix: str) -> Any:
    """Return the number of items of a mean; of a tensor on the CPU, its number.

    One on the device is not read, because that would wait for it: `accel.parts.shared.item_counts` checks it there.

    Args:
        items: the number, a number or a 0-dim tensor.
        owner: the function that returned it: `loss` or `metrics`.
        fix: what it may return.

    Raises:
        ConfigError: if it is no number from 0 on.
    """
    problem = ""
    if isinstance(items, Tensor):
        if items.dim() or items.dtype == torch.bool or items.is_complex():
            problem = f"{describe(items)} for n_items"
        elif items.requires_grad:
            problem = "a tensor with a gradient for n_items; add an auxiliary loss to the loss, or log its detach()"
        elif items.device.type == "cpu" and type(items) is Tensor:
            narrow = items.element_size() < 4 and items.is_floating_point()  # numpy has no bfloat16
            number = float((items.float() if narrow else items).numpy())  # numpy's view: reading it is no operation of torch's
            return _checked_number(number, number, owner, fix)
    elif isinstance(items, bool | np.bool_) or not isinstance(items, Real):
        problem = f"{describe(items)} for n_items"
    else:
        return _checked_number(float("inf") if isinstance(items, int) and items >= MAX_ITEMS else float(items), items, owner, fix)
    if problem:
        raise ConfigError(f"{owner}(model, batch) returned {problem}; {fix}")
    return items


def check_logged(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return numbers to log, tensors 0-dim and detached.

    Raises:
        ConfigError: for a value that is no number, or a name that is no text or that every update has.
    """
    return {_checked_name(name): _checked_value(name, value) for name, value in values.items()}


def refuse_single_sample(error: ValueError) -> None:
    """Raise ConfigError if an error of the user's loss is that of a BatchNorm with a single sample."""
    if "more than 1 value per channel" in str(error):
        raise ConfigError(
            f"BatchNorm needs more than one value per channel ({error}), and a batch has one sample; leave it out with "
            "drop_last=true, or set another batch_size; where a DataLoader makes the batches, set it there"
        ) from error


def _checked_number(number: float, items: Any, owner: str, fix: str) -> Any:
    if not 0 <= number < MAX_ITEMS:
        raise ConfigError(
            f"{owner}(model, batch) returned n_items={number:g}, which must be a number from 0 on, below 2**53; {fix}"
        )
    if 0 < number < 1:
        warn_user(
            f"{owner}(model, batch) returns n_items below 1; an auxiliary loss is added to the loss, or logged as {{name: number}}"
        )
    return items


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or name in RESERVED:
        raise ConfigError(f"loss(model, batch) logs a number as {name!r}; take a name that is none of {', '.join(RESERVED)}")
    return name


def _checked_value(name: Any, value: Any) -> Any:
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.detach().reshape(())
    if isinstance(value, Real):
        return float(value)
    raise ConfigError(f"loss(model, batch) logs {describe(value)} as {name!r}; log a number or a 0-dim tensor, such as a mean")


def _loss_hint(loss: Any) -> str:
    """Return what to do about a loss of a common wrong kind, in words."""
    if isinstance(loss, float | int | np.generic):
        return ", without item()"
    if isinstance(loss, Tensor) and loss.dim() and loss.is_floating_point():
        return ": its mean()"
    if isinstance(loss, list) and loss and all(isinstance(part, Mapping) for part in loss):
        return "; a model that returns its losses in training alone is evaluated by metrics(model, batch)"
    if isinstance(getattr(loss, "loss", None), Tensor) or (isinstance(loss, Mapping) and "loss" in loss):
        return ": its loss"
    return ""
