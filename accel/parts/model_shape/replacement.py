"""A parameter that stands where another stood."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Replacement", "carry_states"]


class Replacement(NamedTuple):
    """A parameter, or its master, that stands where another stood, and how what was kept of that one becomes what is kept of it."""

    old: Tensor
    new: Tensor
    carry: Callable[[Tensor], Tensor]
    """Returns, of a tensor in the shape of `old` (its momentum, its average), the one in the shape of `new`; also of one that has a
    single number in place of some dimensions (a factored moment)."""

    def carried(self, tensor: Tensor) -> Tensor:
        """Return what a tensor that is kept of `old` is of `new`; one of another shape, such as a counter, as it is."""
        sizes = tensor.shape if tensor.dim() == self.old.dim() > 0 else ()
        is_alike = bool(sizes) and all(size in (1, full) for size, full in zip(sizes, self.old.shape, strict=True))
        return self.carry(tensor) if is_alike or tensor.shape == self.old.shape else tensor


def carry_states(states: MutableMapping[Any, Any], replacements: Sequence[Replacement]) -> None:
    """Carry the state of an optimiser over, in place: a dict of values for each tensor that it moves."""
    for replacement in replacements:
        if (state := states.pop(replacement.old, None)) is not None:
            states[replacement.new] = {
                name: replacement.carried(value) if isinstance(value, Tensor) else value for name, value in state.items()
            }
