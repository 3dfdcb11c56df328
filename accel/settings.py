"""The settings of a run itself, torch-free, so that the command line can check them at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_type_hints

from accel.errors import ConfigError, nearest
from accel.values import Bounds, Count, Fraction, Positive, hold

Seed = Annotated[int, Bounds("a whole number from 0 to 2^63 - 1", low=0, high=2**63 - 1)]


@dataclass
class Settings:
    """What a run is told besides its task and plugins. Defaults are those of the command line."""

    epochs: Count = 1
    """Passes over the training data."""
    batch_size: Count | None = None
    """Samples per micro-batch, where the batches are ours to make; null stands for 32."""
    seed: Seed = 0
    """Of the model's initialisation, the order of the data and everything random."""
    device: str = "auto"
    """auto, cpu, cuda, or one device such as cuda:1."""
    out: str | None = None
    """The run directory."""
    checkpoint_every: Count | None = None
    """Save a checkpoint after every so many updates, besides those at the end of each epoch."""
    checkpoint_minutes: Positive | None = 10.0
    """Save a checkpoint when so many minutes have passed since the last."""
    resume: str | None = None
    """A checkpoint, a run directory, or auto."""
    bad_data: Literal["raise", "skip", "substitute"] = "raise"
    """What becomes of a sample that cannot be read: raise ends the run, skip leaves it out, substitute takes another."""
    bad_limit: Fraction = 0.01
    """The largest share of the samples that may be bad; above it the run ends."""
    dry_run: bool = False
    """Build everything, make one update, write nothing."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            name = field.name.replace("checkpoint_", "checkpoint.")
            setattr(self, field.name, hold(name, getattr(self, field.name), hints[field.name]))
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            hint = nearest(self.device, ["auto", "cpu", "cuda"])
            raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, not {self.device!r}{hint}")
