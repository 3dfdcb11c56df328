"""A tiny GAN with two objectives, and the same training written by hand in plain torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Minimize, Trainer
from accel.parts import Part, Run, Watch
from accel.plugins.adamw import AdamW

SEED, BATCHES, BATCH = 3, 8, 4


class Stop(Exception):
    """Ends a run in the middle, as a crash would."""


@dataclass(eq=False)
class Spy(Watch):
    """Remembers the loss and the logged numbers of each update; may end the run after one."""

    stop: int = 0
    losses: list[Tensor] = field(default_factory=list, init=False)
    logged: list[dict[str, Any]] = field(default_factory=list, init=False)

    def begin(self, run: Run) -> None:
        self.run = run

    def after(self, step: int, loss: Tensor) -> None:
        self.losses.append(loss.clone())
        self.logged.append({name: float(number) for name, number in self.run.parts.update.logged.items()})
        if step == self.stop:
            raise Stop


class Gan(Trainer):
    """Points that a generator is to imitate. Its generator has BatchNorm, its critic dropout, and both losses draw noise.

    Args:
        every: `every` of the generator.
        own: plugins of the generator alone.
        bad: updates, from 0, in which the critic's loss is infinite.
        **run: settings of the run.
    """

    aside = ("bad",)

    def __init__(self, every: int = 2, own: Sequence[Part | str] = (), bad: Sequence[int] = (), **run: Any) -> None:
        super().__init__(**run)
        self.every, self.own, self.bad, self.calls = every, own, frozenset(bad), 0

    def identity(self) -> dict[str, Any]:
        return {}

    def model(self) -> nn.Module:
        generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        return nn.ModuleDict({"generator": generator, "critic": nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))})

    def data(self, split: str) -> Any:
        return batches() if split == "train" else batches()[:5]

    def critic_loss(self, model: Any, batch: Tensor) -> Any:
        fake = model["generator"](torch.randn(len(batch), 4))
        loss = F.softplus(-model["critic"](batch)).mean() + F.softplus(model["critic"](fake)).mean()
        self.calls += model.training
        return loss * torch.inf if self.calls - 1 in self.bad and model.training else loss

    def generator_loss(self, model: Any, batch: Tensor) -> Any:
        fake = model["generator"](torch.randn(len(batch), 4))
        return F.softplus(-model["critic"](fake)).mean(), {"mean": fake.mean()}

    def metrics(self, model: Any, batch: Tensor) -> Any:
        return {"score": model["critic"](batch).mean()}

    def objectives(self, model: Any) -> Any:
        return [
            Minimize("critic", model["critic"].parameters(), self.critic_loss, plugins=[AdamW(lr=4e-3)]),
            Minimize("generator", "generator.*", self.generator_loss, every=self.every, plugins=self.own),
        ]


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(BATCH, 2, generator=generator) for _ in range(BATCHES)]


@dataclass
class Outcome:
    """What a run came to."""

    weights: list[Tensor]
    spy: Spy
    metrics: dict[str, float] = field(default_factory=dict)

    def equals(self, other: Outcome) -> bool:
        mine, others = [*self.weights, *self.spy.losses], [*other.weights, *other.spy.losses]
        return self.metrics == other.metrics and all(torch.equal(a, b) for a, b in zip(mine, others, strict=True))


def fit(plugins: Sequence[Part | str] = (), kind: type[Gan] = Gan, stop: int = 0, **settings: Any) -> Outcome:
    """Train the GAN for two epochs."""
    spy = Spy(stop=stop)
    settings = {"epochs": 2, "watch": (), "seed": SEED, "device": "cpu", **settings}
    trainer, metrics = kind(plugins=[*plugins, spy], **settings), dict[str, float]()
    try:
        metrics = trainer.fit().metrics
    except Stop:
        assert stop
    model = spy.run.unwrapped_model
    return Outcome([tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())], spy, metrics)


class HandObjective:
    """One objective of the loop that is written by hand: an optimiser of torch, a loss scale, a clip.

    Args:
        params: the parameters that it moves.
        loss: `loss(model, batch)`.
        every: it moves in each update that this divides.
        optimizer: torch's optimiser, fused.
        scale: first loss scale; None for none.
        max_norm: the longest gradient.
    """

    def __init__(
        self, params: list[nn.Parameter], loss: Any, every: int, optimizer: Any, scale: float | None, max_norm: float | None
    ) -> None:
        self.params, self.loss, self.every, self.max_norm = params, loss, every, max_norm
        self.optimizer = optimizer(params)
        self.scale = None if scale is None else torch.tensor(scale)
        self.good = torch.zeros((), dtype=torch.int32)
        self.skipped = 0.0

    def step(self, model: nn.Module, window: list[Tensor], dtype: torch.dtype | None) -> Tensor:
        """Move the parameters by one window of batches of one size. Return the mean loss."""
        mean = torch.zeros(())
        for batch in window:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                out = self.loss(model, batch)
            loss, weight = out[0] if isinstance(out, tuple) else out, torch.tensor(len(batch) / (len(batch) * len(window)))
            grads = torch.autograd.grad(loss, self.params, weight if self.scale is None else weight * self.scale)
            for param, grad in zip(self.params, grads, strict=True):
                param.grad = grad.clone() if param.grad is None else param.grad + grad
            mean = mean + loss.detach().float() * weight
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(param.grad) for param in self.params]))
        factor, found_inf = self.scale, None
        if self.scale is not None:
            found_inf, norm = (~norm.isfinite()).float(), norm / self.scale
        if self.max_norm is not None:
            clip = ((norm + 1e-6) / self.max_norm).clamp(min=1.0)
            factor = clip if factor is None else factor * clip
        self.optimizer.grad_scale, self.optimizer.found_inf = factor, found_inf
        self.optimizer.step()
        if found_inf is not None:
            assert self.scale is not None
            self.skipped += float(found_inf)
            torch._amp_update_scale_(self.scale, self.good, found_inf, 2.0, 0.5, 2000)
        self.optimizer.zero_grad()
        return mean


def hand_loop(
    every: int = 2,
    window: int = 1,
    dtype: torch.dtype | None = None,
    scale: float | None = None,
    norms: tuple[Any, Any] = (None, None),
) -> tuple[list[Tensor], list[Tensor], list[HandObjective]]:
    """Weights and buffers, losses, and the objectives, of the same training without accel in the loop."""
    task = Gan(every)
    torch.manual_seed(SEED)
    model: Any = task.model()
    adamw, sgd = torch.optim.AdamW, torch.optim.SGD
    objectives = [
        HandObjective(
            list(model["critic"].parameters()), task.critic_loss, 1,
            lambda params: adamw(params, lr=4e-3, fused=True), scale, norms[0],
        ),
        HandObjective(
            list(model["generator"].parameters()), task.generator_loss, every,
            # a first step of torch's fused SGD that is skipped leaves a momentum of whatever was in its memory
            lambda params: sgd(params, lr=0.01, momentum=0.9, fused=True) if scale is None else adamw(params, lr=1e-3, fused=True),
            scale, norms[1],
        ),
    ]  # fmt: skip
    losses, data = [], batches()
    for update in range(2 * BATCHES // window):
        start = update * window % BATCHES
        due = [objective for objective in objectives if update % objective.every == 0]
        means = [objective.step(model, data[start : start + window], dtype) for objective in due]
        losses.append(means[0] if len(means) == 1 else means[0] + means[1])
    return [tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())], losses, objectives
