"""A machine that others use as well: it gets slower and faster, and now and then a window takes far longer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class SharedMachine:
    """Windows of work whose seconds drift, jitter with heavy tails, and are sometimes struck by another program.

    Args:
        seed: of all that is drawn.
        jitter: scale of the windows' own deviation, as a share: Student's t with 3 degrees of freedom.
        drift: standard deviation of the step that the machine's speed makes from window to window, as a share.
    """

    def __init__(self, seed: int, jitter: float = 0.02, drift: float = 0.01) -> None:
        self.rng = np.random.default_rng(seed)
        self.jitter, self.drift, self.slowness = jitter, drift, 0.0

    def windows(self, factor: float) -> Callable[[], float]:
        """Return a function that runs one window, and returns its seconds per sample: `factor` on a quiet machine."""

        def window() -> float:
            rng = self.rng
            self.slowness = 0.98 * self.slowness + self.drift * rng.standard_normal()
            struck = rng.exponential(0.3) if rng.random() < 0.05 else 0.0
            return float(factor * np.exp(self.slowness + self.jitter * np.clip(rng.standard_t(3), -20, 20) + struck))

        return window
