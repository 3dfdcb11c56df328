"""GPUs while they compute: an idle one has low clocks, and tells no reason why they would be low under load."""

from __future__ import annotations

from accel.diagnose.machine.graphics_cards import GraphicsCard, read_cards
from accel.diagnose.probes.probed_run import LEAST, ProbedRun

__all__ = ["cards_at_work"]


def cards_at_work(probed: ProbedRun) -> tuple[GraphicsCard, ...]:
    """Return the GPUs of this machine while updates of the same batch are queued on the run's own; on a CPU as they are."""
    if probed.on_device:
        for _ in range(LEAST):
            probed.update()
    cards = read_cards()
    probed.synchronise()
    return cards
