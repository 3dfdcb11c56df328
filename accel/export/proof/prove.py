"""The proof of an export: loaded anew in a process of its own, and compared with the torch model on held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.card import Card, changed_files
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.proof.compared_model import ComparedModel
from accel.export.proof.latency import measure_latency
from accel.export.proof.proof import Latency, Proof
from accel.export.proof.torch_reference import TorchReference
from accel.export.runtime.engine_process import TIME_LIMIT, RuntimeFailed
from accel.export.runtime.exported_model import ExportedModel
from accel.export.runtime.runtime_process import RuntimeProcess
from accel.values import Count, Fraction, NonNegative, Positive

__all__ = ["ProofSettings", "model_bytes", "prove"]


@dataclass(frozen=True)
class ProofSettings:
    """How an export is proven."""

    tolerance: Positive | None = None
    """Largest difference that is right, as a share of the largest output; None for that of the target."""
    agreement: Fraction = 1.0
    """Smallest share of rows whose largest score is in the same place."""
    seconds: NonNegative = 4.0
    """Of timing, for each target, about; 0 for none."""
    threads: Count = 1
    """Processor threads of a call, for timing."""
    python: str | None = None
    """The interpreter that has the engine; None for this one."""
    time_limit: float = TIME_LIMIT
    """Seconds in which an engine must have built, loaded or run the files."""


def prove(
    folder: Path, card: Card, reference: TorchReference, eager: nn.Module, settings: ProofSettings, tolerance: float
) -> Proof:  # fmt: skip
    """Return the proof of an export. Every figure is taken from files that were loaded anew.

    Args:
        folder: the files.
        card: their card.
        reference: the torch model.
        eager: what was exported, which takes the inputs in order, to be timed.
        settings: how.
        tolerance: of the target, where the settings have none.

    Raises:
        ConfigError: if the engine is not installed, or does not run the files.
    """
    normalisation = PixelNormalisation.of(reference.request.task.normalisation)
    try:
        with RuntimeProcess(card.target, folder, settings.threads, settings.python, card.variant, settings.time_limit) as process:
            exported = ExportedModel(card, process, normalisation)
            compared: list[ComparedModel] = []

            def stand_in(model: nn.Module) -> nn.Module:
                compared.append(ComparedModel(model, exported))
                return compared[0]

            evaluation = reference.evaluate(stand_in)
            latency = _latency(eager, exported, reference.call.inputs, settings)
            memory = process.run(exported.feed(_first(reference.call.inputs, card.batch or 1))).memory
            card.versions |= process.versions
    except RuntimeFailed as error:
        raise ConfigError(f"target={card.target}: {card.file} cannot be loaded or run: {error}") from None
    known, split = compared[0].differences, evaluation.split or ", ".join(evaluation.samples)
    counts = [count for count in evaluation.samples.values() if count is not None]
    return Proof(
        split, sum(counts) if counts else None, known.largest, known.share, known.mean, known.place, known.agreement,
        reference.evaluation.metrics, evaluation.metrics, tolerance if settings.tolerance is None else settings.tolerance,
        settings.agreement, sum(facts["bytes"] for facts in card.files.values()), model_bytes(reference.model), memory, latency,
        changed_files(folder, card.files),
    )  # fmt: skip


def _latency(eager: nn.Module, exported: ExportedModel, inputs: Sequence[Tensor], settings: ProofSettings) -> list[Latency]:
    """Return the latency of one sample, and of a batch where the file takes one."""
    if not settings.seconds:
        return []
    largest = len(inputs[0]) if exported.card.batch is None else exported.card.batch
    sizes = dict.fromkeys([1, largest] if exported.card.batch is None else [largest])
    seconds = settings.seconds / len(sizes)
    return [measure_latency(eager, exported, _first(inputs, size), settings.threads, seconds) for size in sizes]


def _first(inputs: Sequence[Tensor], count: int) -> list[Tensor]:
    """Return the first samples of inputs."""
    samples = len(inputs[0])
    return [one[torch.arange(count) % samples] if one.dim() and len(one) == samples else one for one in inputs]


def model_bytes(model: nn.Module) -> int:
    """Return the bytes of the weights and buffers of a model, each counted once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
