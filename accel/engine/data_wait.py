"""Between two updates, where a run may wait long for its data: what is needed to give such a wait up as if it had never begun."""

from __future__ import annotations

import torch

from accel.device.rng import Randomness
from accel.device.step_snapshot import PROBED_UPDATES, draw_from, drawn
from accel.system.stop_signals import WaitPoint


class DataWait(WaitPoint):
    """The random generators from which reading on this thread may draw, as they were when a wait began.

    torch's are copied each time (1 microsecond each). Python's and numpy's take 50 microseconds: they are copied each time only
    where something drew from them in the first `PROBED_UPDATES` waits. Elsewhere a wait can be given up while they are where they
    were when the epoch began; where something drew from them after all, the run stops after the update that waits.

    Args:
        randomness: of the run.
    """

    def __init__(self, randomness: Randomness) -> None:
        self.randomness, self.draws, self.watched = randomness, False, 0

    def begin(self) -> None:
        """An epoch begins."""
        self.host = drawn()

    def save(self) -> None:
        self.states = [generator.get_state() for generator in (torch.default_generator, *self.randomness.loader_generators)]
        if self.draws:
            self.host = drawn()

    def completed(self) -> None:
        if self.watched < PROBED_UPDATES and not self.draws:
            self.watched += 1
            self.draws = drawn() != self.host

    def can_restore(self) -> bool:
        return self.draws or drawn() == self.host

    def restore(self) -> None:
        """Puts the generators back to where they were when the last wait began."""
        for generator, state in zip((torch.default_generator, *self.randomness.loader_generators), self.states, strict=True):
            generator.set_state(state)
        if self.draws:
            draw_from(self.host)
