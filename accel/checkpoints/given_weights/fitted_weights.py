"""Weights that are loaded into a model as far as they fit it, and the account of what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from accel.checkpoints.finite_check import finite
from accel.checkpoints.weights.weight_names import plain_path, with_names_of
from accel.errors import ConfigError, listed

__all__ = ["SHOWN", "Fit", "fit_weights"]

SHOWN = 3
"""Names that a sentence has of each kind."""


@dataclass
class Fit:
    """Outcome of loading weights into a model."""

    loaded: list[str] = field(default_factory=list)
    """Names in the model of what was loaded."""
    missing: list[str] = field(default_factory=list)
    """Names in the model that there were no weights for."""
    unexpected: list[str] = field(default_factory=list)
    """Names of weights that the model does not have."""
    reshaped: list[str] = field(default_factory=list)
    """Weights of another shape or kind of number than the model's, in words."""
    converted: Counter[str] = field(default_factory=Counter)
    """Number of tensors by the dtypes from and to which they were converted, in words."""

    @property
    def fits(self) -> bool:
        """Whether every name and every shape fits."""
        return not (self.missing or self.unexpected or self.reshaped)

    def account(self) -> str:
        """Return what does not fit, in words; empty if all does."""
        kinds = (
            ("not given", self.missing), ("not in the model", self.unexpected), ("of another shape", self.reshaped)
        )  # fmt: skip
        return "; ".join(f"{len(names)} {words} ({listed(names, SHOWN)})" for words, names in kinds if names)


def fit_weights(model: nn.Module, state: Mapping[str, Tensor]) -> Fit:
    """Load into a model, in place, what of a state fits it: by torch's `load_state_dict`, so that a model's own hooks count.

    Values are converted to the model's dtype and device. A name is not missing if another name of the same tensor is there.

    Args:
        model: the model.
        state: tensors by name.

    Raises:
        ConfigError: for a tensor that holds numbers which are not finite, where the model's own does not either.
        RuntimeError: whatever else the model's own hooks raise.
    """
    state = dict(with_names_of(model, dict(state)))
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    problems = {name: mismatch(value, own[name]) for name, value in state.items() if name in own}
    fitting = {name: value for name, value in state.items() if not problems.get(name)}
    common = {name: (value, own[name]) for name, value in fitting.items() if name in own}
    for name, (value, current) in common.items():
        if not finite(value.detach().cpu()) and finite(current.detach().cpu()):
            raise ConfigError(f"{name} holds numbers that are not finite")
    missing, unexpected = model.load_state_dict(fitting, strict=False)
    for name, (value, current) in common.items():
        if value.dtype != current.dtype and finite(value.detach().cpu()) and not finite(current.detach().cpu()):
            raise ConfigError(f"{name} has numbers that are too large for the model's {dtype_name(current)}")
    there = {id(own[name]) for name in state if name in own}
    return Fit(
        [name for name in common if name not in unexpected],
        [plain_path(model, name) for name in missing if name in own and id(own[name]) not in there],
        list(unexpected),
        [f"{plain_path(model, name)}: {problem}" for name, problem in problems.items() if problem],
        Counter(
            f"{dtype_name(value)} to the model's {dtype_name(current)}"
            for value, current in common.values()
            if value.dtype != current.dtype
        ),
    )


def mismatch(value: Tensor, own: Tensor) -> str:
    """Return how a tensor differs from the model's own in shape or kind of number, in words; empty if it can be copied there."""
    if value.shape != own.shape:
        return f"{tuple(value.shape)} given, {tuple(own.shape)} in the model"
    if value.layout != own.layout or value.is_quantized != own.is_quantized:
        return f"{str(value.layout).removeprefix('torch.')} given, {str(own.layout).removeprefix('torch.')} in the model"
    if (value.is_floating_point(), value.is_complex()) != (own.is_floating_point(), own.is_complex()):
        return f"{dtype_name(value)} given, {dtype_name(own)} in the model"
    return ""


def dtype_name(tensor: Tensor) -> str:
    """Return the name of a tensor's dtype."""
    return str(tensor.dtype).removeprefix("torch.")
