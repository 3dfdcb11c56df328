"""Data to calibrate with: inputs that the model is given for pictures or texts of the training data, as evaluation shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from accel.engine.loading.evaluate_saved import evaluate_saved
from accel.errors import ConfigError
from accel.export.example import ModelCall, take_rows
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.proof.torch_reference import TorchReference

__all__ = ["calibration_inputs", "graph_batches"]


class EnoughSamples(Exception):
    """All the samples that were asked for have been seen."""


class InputRecord(nn.Module):
    """Stand-in for a model that keeps the inputs of its calls.

    Args:
        model: the model.
        samples: how many are kept.
        keep: is given the inputs of each call. They are no attribute of this module: an evaluation puts these back.
    """

    def __init__(self, model: nn.Module, samples: int, keep: Callable[[tuple[Tensor, ...]], None]) -> None:
        super().__init__()
        self.model, self.left, self.keep = model, samples, keep

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model does. Raise EnoughSamples where no more are to be kept."""
        if self.left <= 0:
            raise EnoughSamples
        inputs = ModelCall(args, kwargs, None).inputs
        self.keep(tuple(one.detach().clone() for one in take_rows(inputs, slice(self.left))))
        self.left -= len(inputs[0])
        return self.model(*args, **kwargs)


def calibration_inputs(reference: TorchReference, samples: int, seed: int) -> list[tuple[Tensor, ...]]:
    """Return the inputs of the model for training samples, in batches of at most the run's `batch_size`.

    They are drawn at random from all of the training data, without what augments it where the task can show it so
    (`Task.calibration_data`). Of a stream the first are taken.

    Args:
        reference: the torch model, with the task of its run.
        samples: how many at most.
        seed: of the draw.

    Raises:
        ConfigError: if the training data is not there, or is empty.
    """
    request = reference.request
    calls: list[tuple[Tensor, ...]] = []

    def drawn(split: str) -> Any:
        data = request.task.calibration_data()
        data = request.data("train") if data is None else data
        with suppress(TypeError, NotImplementedError):  # a stream has no length
            chosen = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:samples]
            if not len(chosen):
                raise ConfigError("the training data is empty, and the ranges of integers are taken from it; give it some samples")
            return Subset(data, chosen.tolist())
        return data

    def recorded(model: nn.Module) -> nn.Module:
        return InputRecord(model, samples, calls.append)

    of_training = replace(request, data=drawn, evaluation_split="calibration", plugins=[])
    with suppress(EnoughSamples):
        evaluate_saved(of_training, reference.source, reference.record, recorded)
    if not calls:
        raise ConfigError(
            "quantize=static: the training data gives the model no sample, and ranges are taken from it; give it some"
        )
    return calls


def graph_batches(
    calls: Sequence[tuple[Tensor, ...]], normalisation: PixelNormalisation | None, size: int | None
) -> tuple[tuple[Tensor, ...], ...]:
    """Return inputs of a model as its graph takes them.

    Args:
        calls: inputs of the model.
        normalisation: the one that is in the graph, which takes pixels; None without.
        size: samples that the graph takes in a call; None for any number.
    """
    if normalisation is not None:
        calls = [(torch.from_numpy(normalisation.restore(call[0])), *call[1:]) for call in calls]
    if size is None:
        return tuple(calls)
    return tuple(
        tuple(take_rows(call, slice(start, start + size)))
        for call in calls for start in range(0, len(call[0]) - size + 1, size)
    )  # fmt: skip
