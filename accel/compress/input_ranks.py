"""Which dimension of its input a BatchNorm normalises: it may depend on how many there are, which an evaluation shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from accel.compress.convolutions import replace_module

__all__ = ["InputRanks", "input_rank", "is_rank_certain", "ranks_seen"]

InputRanks = dict[str, bool]
"""Whether a layer had inputs of the rank at which its norm can be folded, and of no other, by its name."""


def input_rank(layer: nn.Module) -> int:
    """Return the number of dimensions that the input of a layer has if its channels are those of the norm after it: (N, C, ...)."""
    return 2 if isinstance(layer, nn.Linear) else 2 + len(layer.kernel_size)  # type: ignore[arg-type]


def is_rank_certain(norm: nn.Module) -> bool:
    """Return whether a norm takes inputs of one rank alone. BatchNorm1d takes (N, C) and (N, C, L), and SyncBatchNorm any."""
    return type(norm) in (nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def ranks_seen(model: nn.Module, pairs: Mapping[str, str]) -> Iterator[InputRanks]:
    """Look on at the inputs of norms, which compute what they do. For an evaluation.

    Args:
        model: the model, which has its own modules again at the end.
        pairs: the name of the norm after each layer, by the layer's name.

    Yields:
        What ranks there were of the layers that were called, complete at the end.
    """
    ranks: InputRanks = {}
    watched = {layer: RankedNorm(model.get_submodule(norm)) for layer, norm in pairs.items()}
    try:
        for layer, norm in watched.items():
            replace_module(model, pairs[layer], norm)
        yield ranks
    finally:
        for layer, norm in watched.items():
            replace_module(model, pairs[layer], norm.norm)
            if norm.ranks:
                ranks[layer] = norm.ranks == {input_rank(model.get_submodule(layer))}


class RankedNorm(nn.Module):
    """A norm that notes how many dimensions its inputs have.

    Args:
        norm: the norm.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.ranks: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        """Return what the norm does."""
        self.ranks.add(x.dim())
        output: Tensor = self.norm(x)
        return output
