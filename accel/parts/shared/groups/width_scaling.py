"""Learning rates that follow the width of a model: the maximal update parametrisation (muP).

A model that is made so, or a module of it, has a method `width_multipliers()`, which returns its width over its base width for each
hidden matrix, by the names of `named_parameters()`. The matrix then has the optimiser's rate divided by it, and the weight decay
times it, so that their product stays. All other parameters (embeddings, biases, norms) keep both. That is the rule for Adam.

Source: Yang et al., Tensor Programs V, arXiv 2203.03466, table 8; their package `mup` (MuAdamW) scales the weight decay so.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from accel.errors import ConfigError, describe
from accel.values import Positive, check_value

__all__ = ["WIDTHS", "width_multipliers", "width_note"]

WIDTHS = (
    "{}: the model is scaled by its width (muP), whose learning rates hold for Adam; take adamw, or make the model without "
    "(task.mup_base_width=null)"
)
"""The refusal of an optimiser for which muP's learning rates do not hold."""


def width_multipliers(model: nn.Module) -> dict[str, float]:
    """Return width over base width of the hidden matrices, by name in `named_parameters`; empty for a model without muP.

    Args:
        model: the user's own.

    Raises:
        ConfigError: for what is no dict, a name that no parameter has, and a number that is not above 0.
    """
    names = {name for name, _ in model.named_parameters()}
    multipliers: dict[str, float] = {}
    for path, module in model.named_modules():
        method = getattr(type(module), "width_multipliers", None)
        if method is None:
            continue
        given = module.width_multipliers() if callable(method) else None
        if not isinstance(given, Mapping):
            what = f"returned {describe(given)}" if callable(method) else f"is {describe(method)}, and no method"
            raise ConfigError(f"width_multipliers() of {type(module).__name__} {what}; return a dict of numbers by name")
        for name, value in given.items():
            full = f"{path}.{name}" if path else name
            if full not in names:
                raise ConfigError(f"width_multipliers() of {type(module).__name__} names {name!r}, which is no parameter of it")
            multipliers[full] = check_value(f"width_multipliers()[{name!r}]", value, Positive)
    return multipliers


def width_note(widths: dict[str, float]) -> dict[str, str]:
    """Return what muP makes of the learning rates, in words for the plan; empty without muP."""
    if not widths:
        return {}
    factors = sorted(set(widths.values()))
    shown = " or ".join(f"{factor:g}" for factor in factors)
    return {
        "muP": f"{len(widths)} hidden matrices are {shown} times as wide as the base: lr divided, weight decay multiplied by it"
    }
