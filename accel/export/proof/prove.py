"""The proof of an export: loaded anew in a process of its own, and compared with the torch model on held-out data."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.card import CARD, Card, changed_files
from accel.export.example import SAMPLES, take_rows
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.proof.compared_model import ComparedModel
from accel.export.proof.departure import Departure
from accel.export.proof.first_departure import first_departure
from accel.export.proof.latency import measure_latency
from accel.export.proof.proof import Allowance, Latency, Proof
from accel.export.proof.timed_torch import TimedTorch
from accel.export.proof.torch_reference import TorchReference
from accel.export.runtime.engine_process import TIME_LIMIT, RuntimeFailed, cannot_start
from accel.export.runtime.exported_model import ExportedModel
from accel.export.runtime.runtime_process import RuntimeProcess
from accel.values import Count, Fraction, NonNegative, Positive

__all__ = ["LARGEST_BATCH", "ProofSettings", "model_bytes", "prove"]

LARGEST_BATCH = 64
"""Samples of a batch that is timed, at most: that of an evaluation may take seconds."""


@dataclass(frozen=True)
class ProofSettings:
    """How an export is proven."""

    tolerance: Positive | None = None
    """Largest difference that is right, as a share of the largest output; None for that of the target."""
    agreement: Fraction | None = None
    """Smallest share of rows whose largest score is in the same place; None for all in float32, and any share in other variants."""
    max_drop: NonNegative = 0.5
    """Largest drop of the metric that is right in any variant but float32, as `accel.export.proof.metric_drop` has it."""
    seconds: NonNegative = 4.0
    """Of timing, for each target, about, without compiling; 0 for none."""
    threads: Count | list[int] = 1
    """Processor threads of a call, for timing; with several numbers, one measurement with each."""
    compiled: bool = True
    """Whether torch is timed compiled too, beside eager mode."""
    python: str | None = None
    """The interpreter that has the engine; None for this one."""
    time_limit: float = TIME_LIMIT
    """Seconds in which an engine must have built, loaded or run the files."""

    def __post_init__(self) -> None:
        if self.python is not None and shutil.which(self.python) is None:
            reason = "it may not be executed" if Path(self.python).is_file() else "there is no such program"
            raise cannot_start(self.python, reason)
        counts = self.threads if isinstance(self.threads, list) else [self.threads]
        if not counts or not all(type(count) is int and count > 0 for count in counts):
            raise ConfigError(f"threads must be a whole number above 0, or several such as [1, 2], not {self.threads}")

    @property
    def thread_counts(self) -> list[int]:
        """The numbers of threads, each once."""
        return list(dict.fromkeys(self.threads if isinstance(self.threads, list) else [self.threads]))


def prove(
    folder: Path, card: Card, reference: TorchReference, timed: TimedTorch, settings: ProofSettings, allowed: Allowance
) -> Proof:  # fmt: skip
    """Return the proof of an export. Every figure is taken from files that were loaded anew.

    Args:
        folder: the files.
        card: their card.
        reference: the torch model.
        timed: what was exported, which takes the inputs in order, to be timed.
        settings: how.
        allowed: how far the export may differ.

    Raises:
        ConfigError: if the engine is not installed, or does not run the files.
    """
    normalisation = PixelNormalisation.of(reference.request.task.normalisation)
    first, *others = settings.thread_counts
    compared: list[ComparedModel] = []
    latency: list[Latency] = []
    try:
        with RuntimeProcess(card.target, folder, first, settings.python, card.variant, settings.time_limit) as process:
            exported = ExportedModel(card, process, normalisation)

            def stand_in(model: nn.Module) -> nn.Module:
                compared.append(ComparedModel(model, exported))
                return compared[0]

            evaluation = reference.evaluate(stand_in)
            latency += _latency(timed, exported, reference.call.inputs, settings, first)
            memory = process.run(exported.feed(_first(reference.call.inputs, card.batch or 1))).memory
            card.versions |= process.versions
            holds = compared[0].differences.share <= allowed.tolerance
            departure = None if holds else _departure(reference, compared[0], allowed.tolerance)
        for threads in others if settings.seconds else []:  # a process has the threads that it was started with
            with RuntimeProcess(card.target, folder, threads, settings.python, card.variant, settings.time_limit) as process:
                latency += _latency(timed, ExportedModel(card, process, normalisation), reference.call.inputs, settings, threads)
    except RuntimeFailed as error:
        raise ConfigError(f"target={card.target}: {_unusable(folder, card)}: {error}") from None
    known, split = compared[0].differences, evaluation.split or ", ".join(evaluation.samples)
    counts = [count for count in evaluation.samples.values() if count is not None]
    return Proof(
        split, sum(counts) if counts else None, known.largest, known.share, known.mean, known.place, known.agreement,
        reference.evaluation.metrics, evaluation.metrics, allowed.tolerance, allowed.agreement,
        sum(facts["bytes"] for facts in card.files.values()), model_bytes(reference.model), memory, latency,
        timed.failure if latency and settings.compiled else "", departure, changed_files(folder, card.files),
        allowed.max_drop,
    )  # fmt: skip


def _unusable(folder: Path, card: Card) -> str:
    """Return the clause on files that their engine does not take, which are others than those of the card perhaps."""
    if changed := changed_files(folder, card.files):
        what = "another sha256" if (folder / changed[0]).is_file() else "it is not there"
        return f"{changed[0]} is not the file of {CARD} ({what}; export the run again), and {card.file} cannot be loaded or run"
    return f"{card.file} cannot be loaded or run"


def _latency(
    timed: TimedTorch, exported: ExportedModel, inputs: Sequence[Tensor], settings: ProofSettings, threads: int
) -> list[Latency]:  # fmt: skip
    """Return the latency of one sample, and of a batch where the file takes one."""
    if not settings.seconds:
        return []
    batch = exported.card.batch
    sizes = dict.fromkeys([1, min(len(inputs[0]), LARGEST_BATCH)] if batch is None else [batch])
    seconds = settings.seconds / (len(sizes) * len(settings.thread_counts))
    return [measure_latency(timed, exported, _first(inputs, size), threads, seconds, settings.compiled) for size in sizes]


def _departure(reference: TorchReference, compared: ComparedModel, tolerance: float) -> Departure | None:
    """Return the first layer that departs in the sample with the largest difference; None where the engine does not tell."""
    if compared.differences.worst is None:
        return None
    inputs, sample = compared.differences.worst
    rows = (sample + torch.arange(compared.exported.card.batch or SAMPLES)) % len(inputs[0])
    try:
        return first_departure(reference, compared.exported, take_rows(inputs, rows), tolerance)
    except (ConfigError, RuntimeFailed):  # it is refused with the figure all the same
        return None


def _first(inputs: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return the first samples of inputs."""
    return take_rows(inputs, torch.arange(count) % len(inputs[0]))


def model_bytes(model: nn.Module) -> int:
    """Return the bytes of the weights and buffers of a model, each counted once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
