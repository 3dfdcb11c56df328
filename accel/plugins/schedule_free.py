"""ScheduleFree: AdamW or SGD without a schedule, evaluated at an average.

Two sets of weights are kept. The set z takes the steps. Gradients are taken at
a point nearer to the average of all z, and that average is evaluated and kept.
The method does the work of a falling learning rate without knowing where the
run ends. Whenever the run is stopped, the average is as good as a schedule that
ended there.

Helps   runs of unknown length, or runs that go on as long as they improve.
        There is no schedule to choose, and every evaluation is a final one.
Hurts   together with a schedule, or with ema, which averages once more. In
        models with BatchNorm the running statistics are those of the trained
        weights, not of the average.
Costs   memory as AdamW (two numbers per parameter; with base=sgd one), a few
        more passes over the cache, and a copy of the weights during evaluation.
Source  Defazio et al., The Road Less Scheduled, arXiv 2405.15682; equal to
        `schedulefree.AdamWScheduleFree` and `SGDScheduleFree` to rounding.
        `accel.optim.ScheduleFree` is the same for a loop of your own.
Exact   Checkpoints hold z and the trained weights, and resume to the same bits.
        The model that is evaluated, returned and written to model.safetensors
        is the average. A skipped update moves no counter, so it does not
        shorten the warm-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.optim.schedule_free import ScheduleFree as FusedScheduleFree
from accel.parts import Average, Optim, Schedule
from accel.parts.shared.batch_norms import batch_norms
from accel.values import Decay, NonNegative, Positive, Share

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["ScheduleFree"]


@dataclass(eq=False)
class ScheduleFree(Optim):
    """Schedule-Free AdamW or SGD.

    Args:
        lr: learning rate: with base=adamw 1 to 10 times AdamW's, with base=sgd 10 to 50 times that of SGD with momentum.
        base: optimiser whose steps are taken.
        beta1: point at which gradients are taken, above 0: 0 would be z itself, 1 the average of all z.
        beta2: decay per update of the second moment, the mean of the squared gradients (base=adamw only).
        eps: number added to the root of the second moment (base=adamw only).
        weight_decay: share of each weight in its update.
        warmup: length of a linear warm-up: below 1 a share of all updates, from 1 on a number of updates; 0 for none.
        exclude: parameters without weight decay: none, or norm_and_bias, those of at most one dimension.
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
    """

    lr: Positive = 0.0025
    base: Literal["adamw", "sgd"] = "adamw"
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    warmup: NonNegative = 0.05
    exclude: Literal["none", "norm_and_bias"] = "none"
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0

    averages = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta1 == 0:
            raise ConfigError("schedule_free.beta1 must be above 0: at 0 the weights would hold nothing of the average")

    @property
    def group_settings(self) -> list[str]:
        return [name for name in super().group_settings if name != "beta1"]  # the average is computed from one for all

    def setup(self, run: Run) -> None:
        if 0 < self.warmup < 1 and run.updates is None:
            share = f"schedule_free.warmup={self.warmup:g} is a share of all updates, and the data has no length"
            raise ConfigError(f"{share}; give a number of updates, or 0")
        self.warmup_updates = round(self.warmup * (run.updates or 0) if self.warmup < 1 else self.warmup)
        super().setup(run)

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        self.schedule_free = FusedScheduleFree(
            [param for _, param in params], lr=self.lr, betas=(self.beta1, self.beta2), eps=self.eps,
            weight_decay=self.weight_decay, warmup=self.warmup_updates, base=self.base, exclude=self.exclude,
        )  # fmt: skip
        return self.schedule_free

    @property
    def is_adam(self) -> bool:  # type: ignore[override]
        """Whether its steps are AdamW's."""
        return self.base == "adamw"

    @property
    def has_momentum(self) -> bool:
        """Return False: the average is computed from beta1, so a schedule must not move it."""
        return False

    def weights(self) -> AbstractContextManager[None]:
        return self.schedule_free.averaged()

    def plan_notes(self) -> Mapping[str, str]:
        warm = f", after {self.warmup_updates} updates of warm-up" if self.warmup_updates else ""
        name = "AdamW" if self.base == "adamw" else "SGD"
        words = f"Schedule-Free {name}, fused{warm}; evaluated at the average{self.plain_note()}"
        return {**super().plan_notes(), "optimizer": words}

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = super().ineffective_settings(run)
        if type(run.parts.schedule) is not Schedule:
            name = run.parts.schedule.name
            messages.append(f"{name} moves the learning rate of schedule_free, which is to do without; drop one: '~plugins.{name}'")
        if type(run.parts.average) is not Average:
            name = run.parts.average.name
            messages.append(
                f"{name} averages the weights that are trained, and is evaluated in place of schedule_free's own average"
            )
        if batch_norms(run.unwrapped_model):
            messages.append("schedule_free: the running statistics of BatchNorm are not those of the average that is evaluated")
        if self.base == "sgd":
            messages += [f"schedule_free.{name} has no effect with schedule_free.base=sgd" for name in self.changed("beta2", "eps")]
        return messages
