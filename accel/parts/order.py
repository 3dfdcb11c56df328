from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from accel.data.sampling import permutation
from accel.parts.part import Part


@dataclass(eq=False)
class Order(Part):
    """In which order the samples of an epoch come; plainest: any is as likely as any other."""

    def permutation(self, samples: int, seed: int, epoch: int) -> Tensor:
        """The numbers below `samples`, each once: int64, shape (samples,). A function of its arguments and of the settings."""
        return permutation(samples, seed, epoch)
