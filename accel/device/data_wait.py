"""A wait for data between two updates, and how to give it up as if it had never begun."""

from __future__ import annotations

import torch

from accel.device.generators import is_drawing
from accel.device.rng import Randomness, host_rng_state, set_host_rng_state
from accel.device.step_snapshot import PROBED_UPDATES
from accel.system.stop_signals import WaitPoint

__all__ = ["DataWait"]


class DataWait(WaitPoint):
    """State of the random generators that reading may draw from, as it was when a wait began.

    torch's generators are copied each time (1 microsecond each). Python's and numpy's take 50 microseconds: they are copied
    each time only if something drew from them in the first `PROBED_UPDATES` waits. Otherwise a wait can be given up while they
    are where they were when the epoch began. If something drew from them after all, the run stops after the update that waits.

    Args:
        randomness: the generators of the run.
    """

    def __init__(self, randomness: Randomness) -> None:
        self.randomness, self.draws, self.watched = randomness, False, 0

    def begin(self) -> None:
        """Record where Python's and numpy's generators stand at the beginning of an epoch."""
        self.host = host_rng_state()

    def save(self) -> None:
        """Save the state of the generators."""
        self.states = [generator.get_state() for generator in (torch.default_generator, *self.randomness.loader_generators)]
        self.held = [handle.state() for handle in self.randomness.held]
        if self.draws:
            self.host = host_rng_state()

    def completed(self) -> None:
        """Look, in the first `PROBED_UPDATES` waits, whether the wait has drawn from Python's generator or numpy's."""
        if self.watched < PROBED_UPDATES and not self.draws:
            self.watched += 1
            self.draws = host_rng_state() != self.host

    def can_restore(self) -> bool:
        """Return whether the generators can be put back to where they were when the wait began.

        Whoever draws sample by sample puts them back itself (`accel.data.batches.sample_randomness`).
        """
        return self.draws or is_drawing() or host_rng_state() == self.host

    def restore(self) -> None:
        """Put the generators back to where they were when the last wait began."""
        for generator, state in zip((torch.default_generator, *self.randomness.loader_generators), self.states, strict=True):
            generator.set_state(state)
        for handle, state in zip(self.randomness.held, self.held, strict=True):
            handle.restore(state)
        if self.draws:
            set_host_rng_state(self.host)
