"""Which objective moves which parameter of the model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from accel.engine.objectives.minimize import METHOD, Minimize
from accel.errors import ConfigError, describe
from accel.parts.shared.name_patterns import matching_some

__all__ = ["find_names", "owned_names", "unowned"]


def owned_names(model: nn.Module, objectives: Sequence[Minimize]) -> dict[str, list[str]]:
    """Return the names of the parameters that each objective moves, frozen ones included, in the order of the model.

    Raises:
        ConfigError: for a parameter of two objectives, one that the model does not have, and an objective that is given none.
    """
    owners: dict[str, str] = {}
    names_by_objective: dict[str, list[str]] = {}
    params = dict(model.named_parameters())
    for objective in objectives:
        chosen = find_names(model, objective)
        if shared := next((name for name in params if name in chosen and name in owners), None):
            raise ConfigError(f"{METHOD}: both {owners[shared]} and {objective.name} move {shared}; give it to one of them")
        owners |= dict.fromkeys(chosen, objective.name)
        if not chosen:
            raise ConfigError(f"{METHOD}: {objective.name} has no parameter to train: it is given none")
        names_by_objective[objective.name] = [name for name in params if name in chosen]
    return names_by_objective


def find_names(model: nn.Module, objective: Minimize) -> set[str]:
    """Return the names of the parameters of one objective.

    Raises:
        ConfigError: for what is no parameter of the model, and a pattern that matches none.
    """
    given = objective.parameters
    items = [given] if isinstance(given, str) else list(given.parameters() if isinstance(given, nn.Module) else given)
    by_id = {id(param): name for name, param in model.named_parameters()}
    names: set[str] = set()
    for item in items:
        if isinstance(item, str):
            own_names = {name: by_id[id(param)] for name, param in model.named_parameters(remove_duplicate=False)}
            names |= {own_names[name] for name in matching_some(item, own_names, f"{METHOD}, parameters of {objective.name}")}
        elif not isinstance(item, Tensor):
            raise ConfigError(f"{METHOD}: {objective.name} is given {describe(item)} for a parameter; give model.part.parameters()")
        elif id(item) not in by_id:
            raise ConfigError(
                f"{METHOD}: {objective.name} is given {describe(item)}, which is no parameter of the model; take those of "
                "the model that objectives(model) is given"
            )
        else:
            names.add(by_id[id(item)])
    return names


def unowned(model: nn.Module, names_by_objective: dict[str, list[str]]) -> list[str]:
    """Return the names of the parameters that could be trained, and that no objective moves."""
    owned = {name for names in names_by_objective.values() for name in names}
    return [name for name, param in model.named_parameters() if param.requires_grad and name not in owned]
