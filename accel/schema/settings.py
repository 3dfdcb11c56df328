"""The settings of a run itself, torch-free, so that the command line can check them at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from accel.errors import ConfigError, nearest
from accel.schema.freeze_rules import read_freeze
from accel.values import Bounds, Count, Fraction, Metric, Place, Positive, check_value, kinds_of, to_plain

__all__ = ["NESTED", "SHORT", "Seed", "Settings", "config_key", "typed_name"]

NESTED = ("checkpoint", "evaluate", "init")
"""Mappings of settings in a config: `checkpoint.every` is `checkpoint_every` in Python."""
SHORT = {"init": "init.from", "resume.allow": "allow"}
"""Settings that are typed by another name than the key that they have in a config: `init=FILE`, where `init` is a mapping."""

Seed = Annotated[int, Bounds("a whole number from 0 to 2^63 - 1", low=0, high=2**63 - 1)]


@dataclass
class Settings:
    """The settings of a run besides its task and plugins. The command line has these defaults too.

    Raises:
        ConfigError: for a value that does not fit its kind.
    """

    epochs: Positive | None = None
    """Passes over the training data, or a fraction of one; null for 1, or for no limit where another length is set."""
    batch_size: Count | None = None
    """Samples per micro-batch, if accel makes the batches; null stands for 32."""
    seed: Seed = 0
    """Seed of the model's initialisation, the order of the data and everything random."""
    device: str = "auto"
    """auto (CUDA, or else the CPU), cpu, cuda, one device such as cuda:1, mps or xpu."""
    out: Place | None = None
    """The run directory."""
    checkpoint_every: Count | None = None
    """Save a checkpoint after every this many updates, besides the ones at the end of epochs."""
    checkpoint_minutes: Positive | None = 10.0
    """Save a checkpoint when this many minutes have passed since the last."""
    checkpoint_epochs: Count = 1
    """Save a checkpoint at the end of every this many epochs; the last one, and the best by `checkpoint_best`, always are."""
    checkpoint_keep: Count = 2
    """The number of newest checkpoints to keep, besides the newest that is proven finite."""
    checkpoint_best: Metric | None = None
    """Keep the best by this metric of the evaluation as well: accuracy, or with the better end named, min:NAME or max:NAME."""
    resume: str | None = None
    """A checkpoint, a run directory, or auto."""
    allow: list[str] = field(default_factory=list)
    """Accepted differences to the resumed run: names as the refusal has them, or their beginnings."""
    bad_data: Literal["raise", "skip", "substitute"] = "raise"
    """The treatment of a sample that cannot be read: raise ends the run, skip leaves it out, substitute takes another."""
    bad_limit: Fraction = 0.01
    """The largest share of the samples that may be bad; above it the run ends."""
    dry_run: bool = False
    """Build everything, make one update, write nothing."""
    drop_last: bool = False
    """Leave out the last micro-batch of an epoch of training, if it is short; another part of the data each time."""
    updates: Count | None = None
    """End after this many updates; with several lengths, the run ends at the first of them."""
    max_samples: Count | None = None
    """End with the update in which this many samples have been trained on, those of repeated epochs counted again."""
    max_tokens: Count | None = None
    """The same in tokens, where the data says how many a sample has (`tokens_per_sample`)."""
    max_seconds: Positive | None = None
    """End with the update in which this many seconds have passed, those before a resume included."""
    evaluate_every: Count | None = None
    """Evaluate after every this many updates, and at the end."""
    evaluate_epochs: Count | None = None
    """Evaluate at the end of every this many epochs, and at the end; null for 1, or for none where evaluate_every is set."""
    evaluate_batches: Count | None = None
    """Look at this many batches of each rank in an evaluation; null for all."""
    init_from: str | None = None
    """Weights to begin with: a file of weights, a checkpoint, or a run directory."""
    init_strict: bool = True
    """Refuse weights of which a name or a shape does not fit the model; false takes what fits."""
    init_rename: dict[str, Any] | list[Any] | None = None
    """New names for the weights in that file, by patterns of the old ones: {old: new}, or a list of {match, to}."""
    freeze: list[Any] | None = None
    """Parameters that are not trained: patterns of their names, or dicts of match and until, the update that thaws them."""

    def __post_init__(self) -> None:
        kinds = kinds_of(type(self))
        if self.epochs is None and not self.has_other_length:
            self.epochs = 1
        if isinstance(self.allow, str):
            self.allow = [self.allow]  # resume.allow=task is a list of one
        if isinstance(self.freeze, str | dict):
            self.freeze = [self.freeze]
        for setting in fields(self):
            setattr(self, setting.name, check_value(typed_name(setting.name), getattr(self, setting.name), kinds[setting.name]))
        if self.epochs is not None and self.epochs == int(self.epochs):
            self.epochs = int(self.epochs)
        if wrong := [name for name in self.allow if not isinstance(name, str)]:
            raise ConfigError(f"resume.allow must be a list of names, such as [task,plugins.adamw.lr], not {wrong[0]!r}")
        read_freeze(self.freeze)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps|xpu", self.device):
            hint = nearest(self.device, ["auto", "cpu", "cuda", "mps", "xpu"])
            if self.device == "gpu":  # as Lightning has it
                hint = "; did you mean 'cuda'?"
            raise ConfigError(f"device must be auto, cpu, cuda, cuda:N, mps or xpu, not {self.device!r}{hint}")

    def plain(self) -> dict[str, Any]:
        """Return the settings as JSON holds them, by the names that are typed; without those that say where a run is written."""
        named = {typed_name(setting.name): getattr(self, setting.name) for setting in fields(self)}
        return {name: to_plain(value) for name, value in named.items() if name not in ("out", "resume", "resume.allow")}

    @property
    def has_other_length(self) -> bool:
        """Whether the run has a length beside its epochs."""
        return any(length is not None for length in (self.updates, self.max_samples, self.max_tokens, self.max_seconds))


def config_key(name: str) -> str:
    """Return the key of a setting in a config: `checkpoint.every` for `checkpoint_every`."""
    group, _, inner = name.partition("_")
    return f"{group}.{inner}" if group in NESTED else name


def typed_name(name: str) -> str:
    """Return the name of a setting as it is typed: its key in a config, or `init` for `init_from`, `resume.allow` for `allow`."""
    key = config_key(name)
    return next((typed for typed, other in SHORT.items() if other == key), key)
