"""The weights that a run begins with, if they are not those of its model's own initialisation (`init`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

from torch import Tensor, nn

from accel.checkpoints.given_weights import (
    Fit,
    GivenWeights,
    fit_weights,
    given_structure,
    given_weights,
    likely_rename,
    read_rename,
    renamed,
    without_shared_prefix,
)
from accel.checkpoints.weights.weight_names import plain_names
from accel.engine.request import RunRequest
from accel.engine.shaping.shape_model import rebuild_model
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError, describe, listed
from accel.parts import Parallel
from accel.parts.parallel import Outcome
from accel.schema.settings import Settings
from accel.system.call_stack import warn_user

__all__ = ["begin_with_weights"]


def begin_with_weights(run: TrainingRun, request: RunRequest, resumed: bool) -> dict[str, str]:
    """Load the weights that `init` names into the model, and return what the plan says. Every rank must call it.

    The first rank reads them, and hands them to the others when its model is wrapped. A run that is resumed has weights of its own.

    Args:
        run: the run, its model not yet wrapped.
        request: of the run.
        resumed: whether the run goes on from a checkpoint.

    Raises:
        ConfigError: on every rank, for weights that cannot be read, or do not fit.
    """
    source, settings, parallel = request.initial_weights, request.settings, run.parts.parallel
    if len(set(parallel.gather(source is None))) > 1:
        raise ConfigError(f"{parallel.name}: init is given on some ranks and not on others; start every rank with the same command")
    if source is None:
        for name in ("rename", "strict"):
            if getattr(settings, f"init_{name}") != getattr(Settings, f"init_{name}"):
                warn_user(f"init.{name} has no effect: the model begins as it is made, without init=FILE")
    if source is None or not request.trains:
        return {}
    if resumed:
        return {"init": "not read: the run that is resumed has its own weights"}
    rebuild_model(run, _on_first_rank(parallel, partial(given_structure, source)), "init")
    return {"init": _on_first_rank(parallel, partial(_load, run, request))}


def _on_first_rank(parallel: Parallel, function: Callable[[], Outcome]) -> Outcome:
    """Return on every rank the plain values that a function returns on the first, or raise the ConfigError that it raises."""
    result, failure = None, ""
    if parallel.rank == 0:
        try:
            result = function()
        except ConfigError as error:
            failure = str(error) if str(error).startswith("init") else f"init: {error}"
    result, failure = parallel.gather((result, failure))[0]
    if failure:
        raise ConfigError(failure)
    return cast(Outcome, result)


def _load(run: TrainingRun, request: RunRequest) -> str:
    """Load the weights, and return what became of them, in words."""
    model, settings = run.unwrapped_model, request.settings
    rules = read_rename(settings.init_rename)
    given = given_weights(request.initial_weights, model)
    new_names = renamed(given.state, rules, given.origin)
    plain = plain_names(model)
    model_names = {plain.get(name, name) for name in model.state_dict()}
    short, prefix = without_shared_prefix([name for name in given.state if name not in new_names], model_names)
    state = {new_names.get(name) or short.get(name, name): value for name, value in given.state.items()}
    state, anew = _adapted(request.task, model, state, given.origin)
    try:
        fit = fit_weights(model, state)
    except ConfigError as error:
        raise ConfigError(f"{given.origin}: {error}") from None
    except Exception as error:  # of the model's own hooks
        raise ConfigError(f"{given.origin}: the model does not take it ({' '.join(str(error).split())[:200]})") from error
    fit.missing = [name for name in fit.missing if name not in anew]
    _check(fit, given, settings, likely_rename(state, model_names))
    total = len(fit.loaded) + len(fit.missing) + len(fit.reshaped) + len(anew)
    notes = [f"{given.origin}: {len(fit.loaded)} of {total} tensors"]
    notes += [f"{len(new_names)} renamed"] * bool(new_names) + [f"without their first words {prefix!r}"] * bool(prefix)
    notes += [f"{count} converted from {dtypes}" for dtypes, count in fit.converted.items()]
    notes += [
        f"{listed([name for name in anew if anew[name] == why], 3)} begin anew: {why}" for why in dict.fromkeys(anew.values())
    ]
    return "; ".join([*notes, *filter(None, [fit.account()])])


def _adapted(
    task: object, model: nn.Module, state: dict[str, Tensor], origin: str
) -> tuple[dict[str, Tensor], dict[str, str]]:  # fmt: skip
    """Return the weights as the task says that the model takes them, and the names in the model of what begins anew, with reasons.

    Raises:
        ConfigError: if the task returns anything else.
    """
    adapt = getattr(task, "adapt_weights", None)
    try:
        out = None if adapt is None else adapt(model, state)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None
    state, anew = (state, {}) if out is None else out if isinstance(out, tuple) and len(out) == 2 else (out, {})
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()) or not isinstance(anew, dict):
        raise ConfigError(
            f"adapt_weights(model, state) returned {describe(out)}; return tensors by name, or (tensors, {{name: reason}})"
        )
    return state, {str(name): str(reason) for name, reason in anew.items()}


def _check(fit: Fit, given: GivenWeights, settings: Settings, rename: str) -> None:
    """Raise ConfigError for weights that do not fit as far as they must.

    Args:
        fit: what came of loading them.
        given: the weights.
        settings: of the run.
        rename: a rule by which more of them would fit; empty if none is known.
    """
    hints = ["init.strict=false takes what fits"] if fit.loaded else []
    if rename:
        hints = [f"did you mean 'init.rename={rename}'?"]
    elif fit.missing and fit.unexpected:
        hints.append("init.rename={OLD:NEW} gives other names")
    hint = f"; {', and '.join(hints)}" if hints else ""
    if not fit.loaded:
        raise ConfigError(f"nothing of {given.origin} fits the model: {fit.account()}{hint}")
    if settings.init_strict and not fit.fits:
        raise ConfigError(f"{given.origin} does not fit the model: {fit.account()}{hint}")
