"""The batch size that fits: the largest that still makes more samples a second. It changes the recipe, so it is not kept."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from accel.compare import Limits, SpeedRatio, interleave
from accel.data.loaders.load_all import free_memory
from accel.device.out_of_memory import free_cached_memory, is_out_of_memory, release_frames
from accel.diagnose.ablation.arm import Arm
from accel.errors import ConfigError, TrainingError
from accel.report.formatting import size
from accel.system.cpu.local_ranks import local_ranks

__all__ = ["FEWEST_UPDATES", "SPARE", "WORTH", "BatchStep", "TunedBatch", "tune_batch"]

WORTH = 0.02
"""Share of the speed that a batch twice as large must bring, beyond the noise."""
SPARE = 2
"""Only one part in so many of the free memory is taken."""
FEWEST_UPDATES = 4
"""Updates of an epoch, at least."""


@dataclass(frozen=True)
class BatchStep:
    """A batch size that was measured.

    Args:
        size: samples of a micro-batch.
        speed: samples a second over those with half of it.
        memory: bytes that tensors take in an update; None if nobody knows.
    """

    size: int
    speed: SpeedRatio
    memory: int | None


@dataclass(frozen=True)
class TunedBatch:
    """Batch size that was found.

    Args:
        own: size of the run.
        size: the best that fits; `own` if none is better.
        steps: sizes that were measured.
        end: why the search ended, in words.
    """

    own: int
    size: int
    steps: tuple[BatchStep, ...]
    end: str

    @property
    def speed(self) -> float:
        """Samples a second over those of the run as it is: the product of the steps up to this size."""
        product = 1.0
        for step in self.steps:
            product *= step.speed.ratio if step.size <= self.size else 1.0
        return product

    @property
    def memory(self) -> int | None:
        """Bytes that tensors take in an update of this size; None if nobody knows, or none is better."""
        return next((step.memory for step in self.steps if step.size == self.size), None)


def tune_batch(arm: Arm, limits: Limits) -> TunedBatch:
    """Return the largest batch size that fits into memory and is worth it: doubled while that makes more samples a second.

    Each size is a run of its own beside the one before, both through their loaders. Every rank must call it.

    Args:
        arm: the run as it is, calibrated.
        limits: of each comparison.
    """
    own = best = arm.run.batch_size
    steps: list[BatchStep] = []
    with ExitStack() as cleanup:
        current = arm
        while not (end := _obstacle(current, 2 * best)):
            try:
                larger = cleanup.enter_context(closing(_with_batches(arm, 2 * best)))
                larger.calibrate()
                speed = interleave(current.window, larger.window, limits, arm.clock)
                steps.append(BatchStep(2 * best, speed, larger.peak_bytes()))
            except (ConfigError, TrainingError) as error:
                end = str(error)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or arm.run.parts.parallel.world_size > 1:
                    raise
                end = f"{2 * best} do not fit into memory ({release_frames(error)})"
                free_cached_memory(arm.run.device)
                break
            if speed.low <= 1 + WORTH:
                end = f"{2 * best} bring nothing beyond the noise"
                break
            best, current = 2 * best, larger
    return TunedBatch(own, best, tuple(steps), end)


def _with_batches(arm: Arm, samples: int) -> Arm:
    """Return the same run with other micro-batches."""
    return Arm(replace(arm.request, settings=replace(arm.request.settings, batch_size=samples)), arm.signals)


def _obstacle(arm: Arm, samples: int) -> str:
    """Return why micro-batches of twice the size of a run's are not tried, in words; empty if they are. The same on every rank."""
    run, peak = arm.run, arm.peak_bytes()
    epoch, free = run.updates_per_epoch, free_memory(run.device)
    if epoch is not None and epoch / 2 < FEWEST_UPDATES:
        return f"with {samples} an epoch has fewer than {FEWEST_UPDATES} updates"
    ranks = local_ranks() if run.device.type == "cpu" else 1
    is_short = peak is not None and free is not None and peak > free // SPARE // ranks  # twice as large takes as much again at most
    if run.parts.parallel.any(is_short):
        return f"{samples} could take {size(2 * (peak or 0))} of memory, and {size(free or 0)} are free"
    return ""
