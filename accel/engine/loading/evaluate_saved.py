"""Evaluation of a run that is there, by the code by which the run evaluated itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from accel.checkpoints.identity import versions
from accel.checkpoints.weights.find_weights import FoundWeights
from accel.checkpoints.weights.rebuilt_model import rebuild
from accel.checkpoints.weights.saved_weights import SavedWeights, put_back, put_weights, read_weights
from accel.data.batches.base import Batches
from accel.engine.build import build
from accel.engine.evaluation.evaluate import evaluate
from accel.engine.finish import bad_sample_section
from accel.engine.loading.task_record import TaskRecord
from accel.engine.request import RunRequest
from accel.engine.select_parts import as_list, make_plugin
from accel.engine.task import Task
from accel.engine.training_run import TrainingRun
from accel.errors import AccelWarning, Interrupted
from accel.parts import (
    Activations,
    Augment,
    Average,
    Branches,
    Clip,
    Group,
    Guard,
    Objective,
    Optim,
    Order,
    Part,
    Probe,
    Pruning,
    Quantisation,
    Rate,
    Schedule,
    Stop,
    Watch,
)  # fmt: skip
from accel.system.call_stack import warn_user, warnings_of_run
from accel.system.machine import OTHER_ACCELERATORS
from accel.system.stop_signals import StopSignals

__all__ = ["TRAINING_ONLY", "Evaluation", "evaluate_saved"]

TRAINING_ONLY: tuple[type[Part], ...] = (
    Activations, Augment, Average, Branches, Clip, Group, Guard, Objective, Optim, Order, Probe, Pruning, Quantisation, Rate,
    Schedule, Stop, Watch,
)  # fmt: skip
"""Parts that an evaluation does without: weights are averaged and the model has its shape already, and some ask how long the
training is."""


@dataclass
class Evaluation:
    """Metrics of the weights of a run."""

    metrics: dict[str, float]
    """By name; of several sets they are called `NAME/METRIC`."""
    split: str
    """The name of the evaluated data; empty for several sets."""
    samples: dict[str, int | None]
    """The number of samples of each set that were evaluated; None where the data does not tell."""
    remarks: list[str] = field(default_factory=list)
    """Sentences on samples that could not be read, and on what may differ from the run's own evaluation."""


def evaluate_saved(
    request: RunRequest, source: FoundWeights, record: TaskRecord | None, stand_in: Callable[[nn.Module], nn.Module] | None = None
) -> Evaluation:  # fmt: skip
    """Return the metrics of the weights that a run keeps, on the held-out data of a task.

    Everything is built as for the run, apart from what only training needs; the training data is not opened, and nothing is
    written. On the same data, in batches of the same size, the metrics are to the bit those of the run.

    Args:
        request: the task, plugins and settings of the run.
        source: the weights.
        record: the task of the run, whose metadata this one must have too; None if it is not known.
        stand_in: is given the model in evaluation mode, with all that it had, and returns what is evaluated in its place.

    Raises:
        ConfigError: if the weights do not fit, there is no held-out data, or anything cannot work.
    """
    record = TaskRecord("", None, {}) if record is None else record
    record.check(Task.metadata(request.task))  # what is known before any data is open
    saved: list[SavedWeights] = []

    def model() -> nn.Module:
        """Return the model with its weights, before any part is set up: averages begin at them, and masters are made of them."""
        made = request.model()
        if isinstance(made, nn.Module):  # what else it is, is refused where a run is built
            made = rebuild(made, source.structure)
            saved.append(read_weights(source, made))
            put_weights(source, saved[0], made)
            made = made if stand_in is None else stand_in(_finished(saved[0], made))
        return made

    with StopSignals(at_once=True) as signals, warnings_of_run(), ExitStack() as cleanup:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccelWarning)  # they are of settings, and the run has given them
            run = build(_for_evaluation(replace(request, model=model)), cleanup, signals)
        with run.parts.parallel.share_errors(lambda: signals.requested is not None):
            record.check(request.task.metadata())
            _put_back_state(run, saved[0])
            metrics = evaluate(run, run.evaluations.metrics, run.evaluations.batches)
        if signals.requested is not None:
            raise Interrupted(signals.name)
        samples = {split: _evaluated(batches, run.evaluations.batches) for split, batches in run.held_out_sets.items()}
        return Evaluation(metrics, run.evaluation_split, samples, _remarks(run, source))


def _evaluated(batches: Batches, limit: int | None) -> int | None:
    """Return how many samples of a set are evaluated, of `limit` batches of each rank; None where the data does not tell."""
    if limit is None or (batches.count is not None and batches.count <= limit):
        return batches.samples
    return limit * batches.batch_size * batches.share.ranks or None


def _finished(saved: SavedWeights, model: nn.Module) -> nn.Module:
    """Return a model with what else moved in it, in evaluation mode; `saved` is without that then."""
    put_back(saved, model, None, torch.device("cpu"))
    saved.user = {name: value for name, value in saved.user.items() if name.partition(".")[0] != "model"}
    return model.eval()


def _for_evaluation(request: RunRequest) -> RunRequest:
    """Return the request without what only training needs, and that would write."""
    settings = replace(
        request.settings, out=None, resume=None, allow=[], dry_run=False, checkpoint_best=None, checkpoint_every=None,
        evaluate_every=None, evaluate_epochs=None, epochs=1, updates=None, max_samples=None, max_tokens=None, max_seconds=None,
        drop_last=False,
    )  # fmt: skip
    plugins = [make_plugin(plugin) for plugin in as_list("plugins", request.plugins)]
    kept = [plugin for plugin in plugins if not isinstance(plugin, TRAINING_ONLY)]
    return replace(request, settings=settings, plugins=kept, watches=(), trains=False)


def _put_back_state(run: TrainingRun, saved: SavedWeights) -> None:
    """Give the task, its loss and its metrics what they remembered, such as the head of a metric loss."""
    alone = run.parts.parallel.world_size == 1
    kinds = {"cuda", *OTHER_ACCELERATORS}
    if saved.rng and alone and kinds & saved.rng.keys() == kinds & {run.device.type}:  # where the metrics draw
        run.random.restore({**saved.rng, "own": [], "held": []})  # not those of loaders, of which some are not here
    if run.user_state is None:
        return
    lost = run.user_state.load_state_dict(saved.user, run.device)
    if lost:
        warn_user(f"the checkpoint has values of {', '.join(lost)}, for which the task has no place; they are left out")
    if saved.extra is not None:
        run.user_state.holders["task"].set_extra_state(saved.extra)


def _remarks(run: TrainingRun, source: FoundWeights) -> list[str]:
    """Return sentences on samples that could not be read, and on versions and devices other than those of the run."""
    remarks = [section.title for section in bad_sample_section(list(dict.fromkeys(run.bad_sample_logs()))).values()]
    before: dict[str, Any] = {} if source.checkpoint is None else source.checkpoint.manifest.versions
    now = versions(run.device)
    changes = [f"{key} was {before[key]} and is {now[key]}" for key in now if before.get(key, now[key]) != now[key]]
    if changes:
        remarks.append(f"{', '.join(changes)}: the last bits may differ from the run's own evaluation")
    return remarks
