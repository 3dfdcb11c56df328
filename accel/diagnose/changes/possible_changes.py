"""Changes that are possible in a run on this machine, and not on already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from accel.data.batches.mapped import MapBatches
from accel.diagnose.changes.typed_changes import in_python, plugin_overrides
from accel.diagnose.changes.unmeasured import may_cast, may_turn, unmeasured
from accel.diagnose.decision.figures import RunFigures
from accel.diagnose.decision.remedies import Possible
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.decision.timing import taken_in_turn
from accel.engine.advice.data_advice import MEMORY_FACTOR, dataset_suggestions, fits_in_memory, plugin_override, suggestions
from accel.engine.select_parts import plugin_parts
from accel.engine.training_run import TrainingRun
from accel.parts import Group, Loader, Parallel, Transfer, Update
from accel.parts.model import Backend, Compile
from accel.parts.run import UNLIMITED
from accel.system.machine import Need

__all__ = ["OFTEN", "SLOTS", "possible_changes"]

SLOTS = 5
"""Batches that readers hold in memory: as many as are read ahead, and two more."""
OFTEN = 2
"""Factor by which evaluations and checkpoints come less often, if that is suggested."""
LARGER = 2
"""Factor of a batch that is suggested: as large as one that was measured."""
FEW_PRODUCTS = 0.5
"""Share of the operators' time below which products are the smaller part of it."""
PASSES = ("overhead", "compute", "threads")


def possible_changes(run: TrainingRun, figures: RunFigures) -> list[Possible]:
    """Return the changes, in no order. What each brings is for the figures to say (`rank_remedies`)."""
    return [*_of_data(run, figures), *_of_device(run, figures), *_of_update(run, figures), *_of_recipe(run, figures)]


def change(
    run: TrainingRun, name: str, plugin: str, parts: tuple[str, ...], settings: dict[str, Any] | None = None, **more: Any
) -> Possible:
    """Return a change by a plugin: one that is switched on, or a setting of one that is on."""
    overrides = plugin_overrides(plugin, settings or {}, is_on(run, plugin))
    return Possible(name, in_python(run, plugin, settings or {}, overrides), parts, overrides=overrides, **more)


def is_on(run: TrainingRun, plugin: str) -> bool:
    """Return whether a plugin is on. The plainest parts are none, whatever they are called."""
    return any(part.name == plugin for part in plugin_parts(run.parts))


def _of_data(run: TrainingRun, figures: RunFigures) -> Iterator[Possible]:
    batches, loader = run.train, run.parts.loader
    if isinstance(batches, MapBatches) and not batches.in_memory:
        if type(loader) is Loader and fits_in_memory(run, batches):
            data: Any = batches.data
            taken = MEMORY_FACTOR * len(data) * prod(data.shape) * np.dtype(data.dtype).itemsize
            yield change(run, "resident", "resident", ("data", "transfer"), memory=taken)
        name = ("threads" if batches.has_fill else "workers") if type(loader) is Loader else loader.name
        untold = figures.cores > 1 or run.parts.parallel.world_size > 1  # then no readers are measured
        unknown = [figures.cores] if type(loader) is Loader and untold else []
        for count in [count for count in figures.reader_steps if count] or unknown:
            settings = {} if count == figures.cores and type(loader) is Loader else {"count": count}
            memory = SLOTS * _bytes_of_batch(batches)
            yield change(run, name, name, ("data",), settings, count=count, memory=memory or None)
        for text in dataset_suggestions(batches.data):
            yield Possible(
                "dataset", text, ("data",), "nothing" if "same pixels" in text else "recipe", overrides=_typed_setting(run, text)
            )
        return
    for text in suggestions(run):
        plugin = next((name for name in ("prefetch", "resident") if text == plugin_override(run, name)), None)
        yield Possible("dataset", text, ("data",)) if plugin is None else change(run, plugin, plugin, ("data",), count=1)


def _typed_setting(run: TrainingRun, text: str) -> Overrides:
    """Return the setting of the task that a suggestion begins with, for a run of the command line; none for any other text."""
    match = re.match(r"(task\.[\w.]+)=([A-Za-z][\w-]*),", text)
    return Overrides(settings=((match[1], match[2]),)) if match and run.command else Overrides()


def _bytes_of_batch(batches: MapBatches) -> int:
    """Return the bytes of a batch of records of one shape; 0 if the data set does not tell."""
    shape, dtype = getattr(batches.data, "shape", None), getattr(batches.data, "dtype", None)
    return 0 if shape is None or dtype is None else int(prod(shape) * np.dtype(dtype).itemsize * batches.batch_size)


def _of_device(run: TrainingRun, figures: RunFigures) -> Iterator[Possible]:
    parts = run.parts

    def memory(name: str) -> int | None:
        return figures.experiments[name].memory if name in figures.experiments else None

    left_out = unmeasured(run)
    if "amp" in figures.experiments or ("amp" in left_out and may_cast(run)):
        note = "products in bfloat16, sums and weights in float32"
        yield change(run, "amp", "amp", PASSES, changes="rounding", memory=memory("amp"), note=note)
    if "channels_last" in figures.experiments or ("channels_last" in left_out and may_turn(run)):
        yield change(run, "channels_last", "channels_last", PASSES, changes="rounding", memory=memory("channels_last"))
    if "tf32" in figures.experiments:
        yield change(run, "tf32", "backend", PASSES, changes="rounding", memory=memory("tf32"), note="products keep 10 bits")
    yield from _compiled(run, figures)
    if "kept_memory" in figures.experiments:
        yield change(run, "kept_memory", "backend", (*PASSES, "update"), note="freed memory stays with the process")
    may_set = type(parts.backend) is Backend or is_on(run, "backend")
    if figures.by_threads and may_set:
        best = min(figures.by_threads, key=lambda count: figures.by_threads[count].median)
        now = figures.by_threads[figures.threads]
        if best != figures.threads and taken_in_turn(now, figures.by_threads[best]).low > 1:
            settings = {"threads": best}
            yield change(run, "thread_count", "backend", (*PASSES, "update"), settings, changes="rounding", count=best)
    if run.device.type == "cuda":
        if type(parts.transfer) is Transfer:
            yield change(run, "stream", "stream", ("transfer",))
        if type(parts.update) is Update and type(parts.parallel) is Parallel:
            yield change(run, "cuda_graph", "cuda_graph", ("overhead",))


def _compiled(run: TrainingRun, figures: RunFigures) -> Iterator[Possible]:
    """Yield `compile`. On a CPU it leaves products as they are: there it is for runs whose other operators take most time."""
    on_cpu, operators = run.device.type == "cpu", figures.operators
    if type(run.parts.compile) is not Compile or run.device.type not in ("cpu", "cuda"):
        return
    if on_cpu and (operators is None or operators.products >= FEW_PRODUCTS or Need("compiler").unmet_reason({}, "cpu")):
        return
    share = 1 - operators.products if on_cpu and operators is not None else 1.0
    note = "compiling takes a minute" + ", and fuses what is no product" * on_cpu
    yield change(run, "compile", "compile", ("overhead", "compute"), changes="rounding", note=note, share=share)


def _of_update(run: TrainingRun, figures: RunFigures) -> Iterator[Possible]:
    optim = run.parts.optim
    if "fused_optimiser" in figures.experiments:
        if "fused" in optim.settings:
            yield change(run, "fused_optimiser", optim.name, ("update",), {"fused": True}, changes="rounding")
        elif optim.name == "optimizer":
            arguments = {**(optim.settings.get("args") or {}), "fused": True}
            arguments.pop("foreach", None)
            yield change(run, "fused_optimiser", "optimizer", ("update",), {"args": arguments}, changes="rounding")
    if run.parts.parallel.world_size > 1 and type(run.parts.group) is Group:
        yield change(
            run, "accumulate", "accumulate", ("communication", "update"), {"steps": OFTEN}, changes="recipe", count=OFTEN,
            note="batches are larger in effect",
        )  # fmt: skip


def _of_recipe(run: TrainingRun, figures: RunFigures) -> Iterator[Possible]:
    def plain(name: str, key: str, value: int, parts: tuple[str, ...], **more: Any) -> Possible:
        typed = f"{key}={value}" if run.command else f"{key.replace('.', '_')}={value}"
        return Possible(name, typed, parts, overrides=Overrides(settings=((key, value),)), **more)

    if run.uses_batch_size and figures.fit is not None:
        yield plain(
            "larger_batch", "batch_size", LARGER * run.batch_size, (*PASSES, "update"), changes="recipe", count=LARGER,
            note="fewer updates per epoch, which want a higher learning rate",
        )  # fmt: skip
    if figures.evaluation:
        every, epochs = run.evaluations.every, run.evaluations.epochs
        key, value = ("evaluate.every", every) if every is not None else ("evaluate.epochs", epochs)
        longest = run.updates if every is not None else run.epochs
        if value != UNLIMITED and (longest is None or OFTEN * value <= longest):
            yield plain("evaluate_less", key, OFTEN * value, ("evaluation",), count=OFTEN)
    if figures.checkpoint:
        yield plain("checkpoint_less", "checkpoint.epochs", OFTEN, ("checkpoint",), count=OFTEN)
