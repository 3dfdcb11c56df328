"""A module that computes by an exported file, in the place of the model that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.call.structured_values import join_tensors, split_tensors
from accel.export.card import Card
from accel.export.example import GIVEN
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.runtime.engine_process import RuntimeFailed
from accel.export.runtime.runtime_process import RuntimeProcess
from accel.export.target import Arrays

__all__ = ["ExportedModel"]


class ExportedModel(nn.Module):
    """Stand-in for a model: takes what it takes, and returns what an exported file makes of it.

    Pictures are turned back into the pixels that they were made of by the normalisation of the task, and go through that of the
    card: a card with another one gives other outputs.

    Args:
        card: the card of the export.
        process: the process that runs its files.
        normalisation: that of the task; None if it has none.
    """

    def __init__(self, card: Card, process: RuntimeProcess, normalisation: PixelNormalisation | None) -> None:
        super().__init__()
        self.card, self.process, self.normalisation = card, process, normalisation
        self.own = PixelNormalisation.of(card.normalisation)
        if (self.own is None) != (normalisation is None):
            one, other = ("no", "one") if self.own is None else ("a", "none")
            raise ConfigError(f"the card has {one} normalisation, and the task has {other}; export the run again")
        self.keywords = [name for name, _ in card.arguments[-1][-1][-1][-1]]
        self.given: list[Tensor] = []
        """Inputs of the last call."""
        self.weightless = nn.Parameter(torch.zeros(()))
        """A run asks its model for a parameter. Nothing is computed with this one."""

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Return the outputs of the file, in the structure of the model's. Raise ConfigError if the engine fails."""
        by_keyword = sorted(kwargs, key=self.keywords.index) if kwargs.keys() == set(self.keywords) else kwargs
        placed, arguments = split_tensors((args, {name: kwargs[name] for name in by_keyword}), GIVEN)
        if arguments != self.card.arguments:
            raise ConfigError(f"{GIVEN} other arguments in this call than in the one that was exported; give it the same in each")
        self.given = [one.tensor for one in placed]
        self.check_sizes()
        outputs = self.arrays(self.feed(self.given))
        return join_tensors(self.card.structure, [torch.from_numpy(one) for one in outputs])

    def check_sizes(self) -> None:
        """Raise ConfigError for an input of another size than the file takes. Pictures are checked where they are restored."""
        if self.own is not None:
            return
        for one, info in zip(self.given, self.card.inputs, strict=True):
            for place, (size, own) in enumerate(zip(one.shape[1:], info.shape[1:], strict=False), start=1):
                if isinstance(own, int) and own != size:
                    shapes = " and ".join(" x ".join(map(str, shape)) for shape in (info.shape[1:], one.shape[1:]))
                    fix = "export with dynamic=length, or " if place == 1 and "length" not in info.shape else ""
                    raise ConfigError(
                        f"{self.card.file} takes samples of one size, and {info.name} has had {shapes}; {fix}give it samples of one"
                    )

    def feed(self, inputs: Sequence[Tensor]) -> Arrays:
        """Return what the file is given for inputs of the model."""
        arrays = [np.ascontiguousarray(one.detach().cpu().numpy()) for one in inputs]
        if self.own is not None and self.normalisation is not None:
            pixels = self.normalisation.restore(inputs[0].detach().cpu())
            arrays[0] = pixels if self.card.preprocessing == "graph" else self.own.apply(pixels)
        return [array.astype(info.type, copy=False) for array, info in zip(arrays, self.card.inputs, strict=True)]

    def arrays(self, inputs: Sequence[NDArray[Any]]) -> Arrays:
        """Return the outputs of the file for what it is given. A batch goes through in pieces where it takes a fixed number."""
        try:
            if self.card.batch is None:
                return [np.array(one) for one in self.process.run(inputs).outputs]
            pieces = [self.process.run(piece).outputs for piece in pieces_of(inputs, self.card.batch)]
        except RuntimeFailed as error:
            raise ConfigError(f"{self.card.file} cannot be run: {error}; export the run again") from None
        return [np.concatenate(parts)[: len(inputs[0])] for parts in zip(*pieces, strict=True)]


def pieces_of(inputs: Sequence[NDArray[Any]], size: int) -> list[Arrays]:
    """Return a batch in pieces of `size` samples each; the last sample is repeated where the last piece is short."""
    count = len(inputs[0])
    starts = range(0, count, size)
    places = [np.minimum(np.arange(start, start + size), count - 1) for start in starts]
    return [[one[place] for one in inputs] for place in places]
