"""Two models side by side: each call is made of both, and their outputs are compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.call.structured_values import split_tensors
from accel.export.example import RETURNED
from accel.export.proof.output_differences import OutputDifferences

__all__ = ["MOST", "Disagreement", "PairedModel"]

MOST = 5
"""Samples that are named, at most."""


class Disagreement(NamedTuple):
    """A sample whose largest score has another place in each model."""

    sample: int
    """Its number, from 0, in the order of the evaluation."""
    one: int
    """The place in the first model."""
    two: int


class PairedModel(nn.Module):
    """Stand-in for a model that returns what one of two makes of the inputs, and adds up the differences.

    Args:
        one: a model in evaluation mode.
        two: another.
        returned: the number, 0 or 1, of the one whose outputs are returned.
    """

    def __init__(self, one: nn.Module, two: nn.Module, returned: int) -> None:
        super().__init__()
        self.one, self.two, self.returned = one, two, returned
        self.differences = OutputDifferences()
        self.disagreements: list[Disagreement] = []
        self.calls: list[int] = []
        """The call of each of them."""
        self.sizes: list[int] = []
        """Samples of each call."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs of one model. Raise ConfigError if those of the other have another shape."""
        outputs = [model(*args, **kwargs) for model in (self.one, self.two)]
        one, two = ([placed.tensor for placed in split_tensors(output, RETURNED)[0]] for output in outputs)
        names = ["the output"] if len(one) == 1 else [f"output {place}" for place in range(len(one))]
        self.differences.add(one, two, names)
        if self.differences.misshapen:
            raise ConfigError(f"the two cannot be compared: the second gives {self.differences.misshapen} in the first")
        self.sizes.append(len(one[0]) if one and one[0].dim() else 0)
        if one:
            self._compare_classes(one[0], two[0])
        return outputs[self.returned]

    def _compare_classes(self, one: Tensor, two: Tensor) -> None:
        """Note the first samples with another top class; of scores at several places of a sample, the first that differs."""
        if one.dim() < 2 or one.shape[-1] < 2 or not one.is_floating_point():
            return
        first, second = (scores.argmax(-1).reshape(len(scores), -1) for scores in (one, two))
        differs = first != second
        for row in torch.nonzero(differs.any(1)).flatten().tolist()[: MOST - len(self.disagreements)]:
            place = int(differs[row].int().argmax())
            self.calls.append(len(self.sizes) - 1)
            self.disagreements.append(Disagreement(row, int(first[row, place]), int(second[row, place])))

    def numbered(self, samples: int | None) -> list[Disagreement]:
        """Return the disagreements with the numbers of their samples, each once; none where calls are no whole batches.

        Args:
            samples: how many there were. Metrics may call the model several times for each batch.
        """
        times, rest = divmod(sum(self.sizes), samples or 0) if samples else (0, 1)
        if rest or not times:
            return []
        batches = self.sizes[::times]
        by_sample: dict[int, Disagreement] = {}
        for call, one in zip(self.calls, self.disagreements, strict=True):
            number = sum(batches[: call // times]) + one.sample
            by_sample.setdefault(number, one._replace(sample=number))
        return [by_sample[number] for number in sorted(by_sample)]
