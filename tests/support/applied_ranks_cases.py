"""Two ranks that try remedies: in this process, in processes of their own, and one that fails on one rank alone."""

from __future__ import annotations

import os
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from accel import Trainer
from accel.compare import Limits
from accel.diagnose.changes.unmeasured import unmeasured_sentences
from accel.diagnose.decision.remedies import Possible, Remedy
from accel.diagnose.decision.run_overrides import Overrides
from accel.diagnose.doctor import measured_run
from accel.diagnose.probes import experiments
from accel.diagnose.probes.experiments import run_experiments
from accel.diagnose.probes.probed_run import ProbedRun
from accel.diagnose.trials import remedy_trials as module
from accel.diagnose.trials.applied_in_order import apply_remedies
from accel.diagnose.trials.trainer_variant import trainer_variant
from accel.engine.sandbox import sandbox
from accel.parts import Clip
from accel.plugins import AdamW

RANK = int(os.environ.get("RANK", "0"))


class Small(Trainer):
    """A run of two ranks that can be sent to other processes."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))

    def data(self, split: str) -> Any:
        generator = torch.Generator().manual_seed(0)
        return TensorDataset(torch.randn(128, 8, generator=generator), torch.arange(128) % 2) if split == "train" else None

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


class OneFails(Clip):
    """Fails on the second rank alone."""

    def limit(self, grads: Any) -> Any:
        if RANK == 1:
            raise ValueError("only here")
        return grads


def variant(overrides: Overrides) -> Trainer:
    trainer = Small(plugins=["ddp"], batch_size=8, device="cpu", watch=())
    if "one_fails" in overrides.plugins:
        trainer.plugins = [*trainer.plugins, OneFails()]
        overrides = Overrides()
    return trainer_variant(trainer, overrides)


def remedy(plugin: str, name: str = "", changes: Any = "nothing") -> Remedy:
    overrides = Overrides((plugin,)) if plugin else Overrides(settings=(("batch_size", 16),))
    return Remedy(Possible(name or plugin, plugin, ("compute",), changes, overrides=overrides), None, 9.0)


def case_applied(folder: Path) -> list[Any]:
    """What came of each on this rank."""
    module.LIMITS = module.SEARCH = Limits(min_rounds=2, max_rounds=2, step=1)
    module.UPDATES = 4
    said: list[str] = []
    remedies = [remedy("clip"), remedy("backend"), remedy("one_fails"), remedy("accumulate"), remedy("", "larger_batch", "recipe")]
    result = apply_remedies(remedies, lambda overrides: partial(variant, overrides), said.append)
    return [
        [(one.remedy.change.name, one.speed and one.speed.ratio, one.is_kept, one.reason) for one in result.tried],
        result.batch and (result.batch.own, result.batch.size), result.failure, said,
    ]  # fmt: skip


def case_experiments(folder: Path) -> Any:
    """The experiments that were made, and the sentences on others."""
    experiments.SECONDS = experiments.LONGEST = 0.0
    trainer = Small(plugins=["ddp", AdamW(fused=False)], batch_size=8, device="cpu", watch=())
    with measured_run(trainer) as (run, _), sandbox(run) as windows:
        made = run_experiments(ProbedRun(run, windows, 0.1), inf)
        return {name: one.ratio.rounds for name, one in made.items()}, unmeasured_sentences(run)
