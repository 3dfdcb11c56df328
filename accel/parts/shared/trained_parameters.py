"""Parameters that are trained: those of the start, and those that come or are unfrozen on the way.

They are compared where an epoch begins, and after the first update. Once a parameter is trained, the optimiser keeps its state,
also while it is frozen. One that is unfrozen, or that takes the place of another (`model.fc = nn.Linear(...)`), is taken in from
the next comparison on, with the settings of its group and a state that begins there. Refused are parameters that the first forward
pass makes, and with several ranks all that come later, but for those that all ranks thaw in the same update (`freeze`): no rank
would hear of their gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from accel.errors import ConfigError, listed
from accel.parts.model_shape.replacement import Replacement
from accel.parts.part import Part
from accel.parts.run import Run
from accel.system.call_stack import warn_user

__all__ = ["capture_trained", "follow_parameters", "follow_replacements", "restore_trained"]


def follow_parameters(run: Run, *, first_update: bool = False, planned: bool = False, anyway: bool = False) -> None:
    """Let every part follow the parameters that are trained now, if they are others than before.

    Args:
        run: the run.
        first_update: whether this process has just made its first update.
        planned: whether all ranks have unfrozen the same ones, and call it in the same update.
        anyway: whether to do so also if they are not.

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
    if not (new or gone or anyway):
        return
    if made and (first_update or not run.updated):
        raise ConfigError(
            f"the model made {listed(made)} when the optimiser was built already, so nothing would train it; make it in __init__, "
            "or call the model once on a batch before fit()"
        )
    if run.parts.parallel.world_size > 1 and (made or replaced or gone or not planned):
        name, changed = run.parts.parallel.name, listed([*new, *gone])
        raise ConfigError(
            f"{name}: {changed} changed after the run began, and no rank would hear of its gradient; let all be trained from the "
            f"start, or leave {name} out"
        )
    for param in new.values():  # what backward passes have left there since nobody frees it
        param.grad = None
    _let_all_follow(run)
    _report(run, made, replaced, list(new))


def follow_replacements(run: Run, replacements: Sequence[Replacement]) -> None:
    """Let every part follow a change of the model that all ranks have made between two updates.

    Args:
        run: the run.
        replacements: the parameters that stand where others stood; none if modules or buffers alone have changed.
    """
    moved = run.parts.precision.replaced(replacements) if replacements else []
    for part in run.parts.all():
        part.replace_parameters(moved)
    _let_all_follow(run)


def _report(run: Run, made: list[str], replaced: list[str], new: list[str]) -> None:
    """Tell the user, and the summary, which parameters are trained from here on, by name.

    Args:
        run: the run.
        made: those that the model did not have before.
        replaced: those that stand where others did.
        new: both, and those that were frozen.
    """
    when = f"from update {run.progress.step + 1} on"
    if made or replaced:
        fix = "" if not made else "; a resumed run finds it only if model() makes it"
        names = listed([*made, *replaced])
        warn_user(f"the model has other parameters than before ({names}): the optimiser trains them {when}{fix}")
    if new:
        run.parts.optim.later.append(f"{listed(new)} {'was' if len(new) == 1 else 'were'} trained {when}")


def capture_trained(run: Run) -> dict[str, list[str]] | None:
    """Return which parameters are trained, by name; None if they are those of the start."""
    precision = run.parts.precision
    state = {
        "start": precision.trained_at_start,
        "trained": [name for name, _ in precision.trained],
        "unfrozen": [name for name, param in run.unwrapped_model.named_parameters() if param.requires_grad],
    }
    return None if all(names == state["start"] for names in state.values()) else state


def restore_trained(run: Run, state: Any, parts: Sequence[Part] = ()) -> None:
    """Train the parameters that were trained when the state was captured, before the other parts get theirs.

    Args:
        run: the run.
        state: what `capture_trained` returned.
        parts: those that are set up, if not all are.

    Raises:
        ValueError: for a run that began with other parameters.
    """
    precision = run.parts.precision
    start = precision.trained_at_start
    state = {"start": start, "trained": start, "unfrozen": start} if state is None else state
    if set(state["start"]) != set(start):  # in whatever order: objectives may move in another one (resume.allow)
        raise ValueError("it began with other parameters frozen")
    params: dict[str, nn.Parameter] = dict(run.unwrapped_model.named_parameters())
    trained, unfrozen = set(state["trained"]), set(state["unfrozen"])
    if trained != {name for name, _ in precision.trained}:
        precision.keep_trained(trained)
        for name, param in params.items():
            param.requires_grad_(name in trained)
        _let_all_follow(run, parts)
    changed = [param for name, param in params.items() if param.requires_grad != (name in unfrozen)]
    for param in changed:
        param.requires_grad_(not param.requires_grad)
    if changed and run.parts.parallel.world_size > 1:
        _let_all_follow(run)


def _let_all_follow(run: Run, parts: Sequence[Part] = ()) -> None:
    for part in parts or run.parts.all():
        part.follow_parameters(run)
