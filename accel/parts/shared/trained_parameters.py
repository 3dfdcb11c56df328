"""Parameters that are trained: those of the start, and those that come or are unfrozen on the way.

They are compared where an epoch begins, and after the first update. Once a parameter is trained, the optimiser keeps its state,
also while it is frozen. One that is unfrozen, or that takes the place of another (`model.fc = nn.Linear(...)`), is taken in from
the next comparison on, with the settings of its group and a state that begins there. Refused are parameters that the first forward
pass makes, and with several ranks all that come later: no rank would hear of their gradients.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from accel.errors import ConfigError
from accel.parts.run import Run
from accel.system.call_stack import warn_user

__all__ = ["capture_trained", "follow_parameters", "restore_trained"]


def follow_parameters(run: Run, *, first_update: bool = False) -> None:
    """Let every part follow the parameters that are trained now, if they are others than before.

    Args:
        run: the run.
        first_update: whether this process has just made its first update.

    Raises:
        ConfigError: for parameters that cannot be taken in.
    """
    precision, model = run.parts.precision, run.unwrapped_model
    present, known = dict(model.named_parameters()), dict(precision.known)
    trained = {id(param) for _, param in precision.trained}
    free = {name: param for name, param in present.items() if param.requires_grad and id(param) not in trained}
    new = {name: param for name, param in free.items() if precision.may_train(name)}
    if lost := [name for name in free if name not in known and name not in new]:
        raise ConfigError(
            f"the model made {listed(lost)}, which no objective moves; make it in model(), or replace one of its name"
        )
    made = [name for name in new if name not in known]
    replaced = [name for name in new if name in known and known[name] is not new[name]]
    gone = [name for name, param in precision.trained if present.get(name) is not param and name not in replaced]
    if not (new or gone):
        return
    if made and (first_update or not run.updated):
        raise ConfigError(
            f"the model made {listed(made)} when the optimiser was built already, so nothing would train it; make it in __init__, "
            "or call the model once on a batch before fit()"
        )
    if run.parts.parallel.world_size > 1:
        name, changed = run.parts.parallel.name, listed([*new, *gone])
        raise ConfigError(
            f"{name}: {changed} changed after the run began, and no rank would hear of its gradient; let all be trained from the "
            f"start, or leave {name} out"
        )
    for param in new.values():  # what backward passes have left there since nobody frees it
        param.grad = None
    for part in run.parts.all():
        part.follow_parameters(run)
    when = f"from update {run.progress.step + 1} on"
    if made or replaced:
        fix = "" if not made else "; a resumed run finds it only if model() makes it"
        warn_user(
            f"the model has other parameters than before ({listed([*made, *replaced])}): the optimiser trains them {when}{fix}"
        )
    if new:
        run.parts.optim.later.append(f"{listed(list(new))} was trained {when}")


def capture_trained(run: Run) -> dict[str, list[str]] | None:
    """Return which parameters are trained, by name; None if they are those of the start."""
    precision = run.parts.precision
    state = {
        "start": precision.trained_at_start,
        "trained": [name for name, _ in precision.trained],
        "unfrozen": [name for name, param in run.unwrapped_model.named_parameters() if param.requires_grad],
    }
    return None if all(names == state["start"] for names in state.values()) else state


def restore_trained(run: Run, state: Any) -> None:
    """Train the parameters that were trained when the state was captured, before the other parts get theirs.

    Raises:
        ValueError: for a run that began with other parameters.
    """
    if state is None:
        return
    if state["start"] != run.parts.precision.trained_at_start:
        raise ValueError("it began with other parameters frozen")
    params: dict[str, nn.Parameter] = dict(run.unwrapped_model.named_parameters())
    for name in state["trained"]:
        params[name].requires_grad_(True)
    follow_parameters(run)
    for name, param in params.items():
        param.requires_grad_(name in state["unfrozen"])


def listed(names: list[str]) -> str:
    """Return the first name, and the number of the others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
