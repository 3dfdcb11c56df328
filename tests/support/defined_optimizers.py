"""Optimisers as their definitions stand: one parameter after the other, in plain arithmetic, without a fused kernel."""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

Settings = dict[str, Any]


class Defined:
    """An optimiser that moves `params` by `step(grads, lr)`; `step` is called for updates that are not skipped alone.

    Args:
        named: the parameters, by name.
        settings: the settings of accel's plugin of the same name.
        own: settings of some parameters by name, in place of those; also `rate`, a learning rate in place of `lr`, and
            `rate_factor`, a factor on it.
    """

    def __init__(self, named: list[tuple[str, nn.Parameter]], settings: Settings, own: dict[str, Settings] | None = None) -> None:
        self.names, self.params = [name for name, _ in named], [param for _, param in named]
        self.settings, self.count = settings, 0
        self.own = [settings | (own or {}).get(name, {}) for name in self.names]
        self.state: list[dict[str, Tensor]] = [{} for _ in self.params]
        self.steps = [0] * len(self.params)
        """The steps that each parameter has made."""

    def step(self, grads: list[Tensor | None], lr: float, beta: float | None = None) -> None:
        """Move every parameter but those without a gradient, which are frozen.

        `beta` is the momentum, or first beta, that a schedule sets; None for the settings' own.
        """
        self.count += 1
        for index, grad in enumerate(grads):
            if grad is not None:
                self.steps[index] += 1
                self.move(index, grad, self.rate(index, lr), beta)

    def rate(self, index: int, lr: float) -> float:
        """The learning rate of a parameter when a schedule has set `lr`."""
        own = self.own[index]
        if "rate" in own:
            return float(lr * own["rate"] / self.settings["lr"])
        return float(lr * self.plain_rate(index) / self.settings["lr"] * own.get("rate_factor", 1.0))

    def plain_rate(self, index: int) -> float:
        """The learning rate of a parameter without a schedule or settings of its own."""
        return float(self.settings["lr"])

    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        raise NotImplementedError

    def decay(self, index: int) -> float:
        """The weight decay of a parameter."""
        left_out = self.settings.get("exclude") == "norm_and_bias" and self.params[index].dim() <= 1
        return 0.0 if left_out else float(self.own[index]["weight_decay"])

    def buffer(self, index: int, name: str) -> Tensor:
        return self.state[index].setdefault(name, torch.zeros_like(self.params[index]))

    def adam(self, index: int, grad: Tensor, beta1: float, beta2: float, eps: float) -> Tensor:
        """Adam's direction, with the product of the betas that were really used as its correction."""
        first, second = self.buffer(index, "first"), self.buffer(index, "second")
        first.mul_(beta1).add_(grad, alpha=1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        product = self.state[index].get("product", torch.ones((), dtype=torch.float64)) * beta1
        self.state[index]["product"] = product
        return first / (1 - float(product)) / ((second / (1 - beta2 ** self.steps[index])).sqrt() + eps)


class SGD(Defined):
    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        param, settings = self.params[index], self.own[index]
        momentum = settings["momentum"] if beta is None else beta
        grad = grad + self.decay(index) * param
        if settings["momentum"]:
            moved = self.buffer(index, "momentum").mul_(momentum).add_(grad)
            grad = grad + momentum * moved if settings["nesterov"] else moved
        param.sub_(lr * grad)


class AdamW(Defined):
    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        param, settings = self.params[index], self.own[index]
        direction = self.adam(index, grad, settings["beta1"] if beta is None else beta, settings["beta2"], settings["eps"])
        param.mul_(1 - lr * self.decay(index)).sub_(lr * direction)


class LAMB(Defined):
    """You et al., arXiv 1904.00962, as in apex's `FusedLAMB`."""

    def step(self, grads: list[Tensor | None], lr: float, beta: float | None = None) -> None:
        longest = self.settings["max_grad_norm"]
        norm = sqrt(sum(float(grad.double().square().sum()) for grad in grads if grad is not None))
        shrink = 1.0 if longest is None else max(1.0, norm / longest)
        super().step([None if grad is None else grad / shrink for grad in grads], lr, beta)

    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        param, settings, decay = self.params[index], self.own[index], self.decay(index)
        beta1 = settings["beta1"] if beta is None else beta
        update = self.adam(index, grad, beta1, settings["beta2"], settings["eps"]) + decay * param
        ratio, excluded = 1.0, settings["exclude"] == "norm_and_bias" and param.dim() <= 1
        if not excluded and (decay or settings["always_adapt"]):
            weight, length = float(param.norm()), float(update.norm())
            ratio = weight / length if weight and length else 1.0
            ratio = min(ratio, 1.0) if settings["trust_clip"] else ratio
        param.sub_(lr * ratio * update)


class LARS(Defined):
    """You et al., arXiv 1708.03888, as in timm and apex's `LARC`."""

    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        param, settings, decay, ratio = self.params[index], self.own[index], self.decay(index), 1.0
        momentum = settings["momentum"] if beta is None else beta
        weight, length = float(param.norm()), float(grad.norm())
        excluded = settings["exclude"] == "norm_and_bias" and param.dim() <= 1
        if not excluded:
            if weight and length:
                ratio = settings["trust_coefficient"] * weight / (length + decay * weight + settings["eps"])
            ratio = min(ratio / lr if lr else 1.0, 1.0) if settings["trust_clip"] else ratio
        grad = ratio * (grad + decay * param)
        if settings["momentum"]:
            moved = self.buffer(index, "momentum").mul_(momentum).add_(grad)
            grad = grad + momentum * moved if settings["nesterov"] else moved
        param.sub_(lr * grad)


class Muon(AdamW):
    """Jordan et al., kellerjordan.github.io/posts/muon: the matrices in `matrices`, and AdamW for all others."""

    def plain_rate(self, index: int) -> float:
        return float(self.settings["lr" if self.names[index] in self.settings["matrices"] else "adamw_lr"])

    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        param, settings = self.params[index], self.own[index]
        if self.names[index] not in settings["matrices"]:
            super().move(index, grad, lr, None)
            return
        momentum = settings["momentum"] if beta is None else beta
        moved = self.buffer(index, "momentum").mul_(momentum).add_(grad, alpha=1 - momentum)
        matrix = ((1 - momentum) * grad + momentum * moved if settings["nesterov"] else moved).flatten(1)
        rows, columns = matrix.shape
        x = (matrix.T if rows > columns else matrix).float()
        x = x / max(float(x.norm()), 1e-7)
        for _ in range(settings["ns_steps"]):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        update = (x.T if rows > columns else x).reshape(param.shape)
        param.mul_(1 - lr * self.decay(index)).sub_((lr * sqrt(max(1, rows / columns)) * update).to(param.dtype))


class ScheduleFree(Defined):
    """Defazio et al., arXiv 2405.15682. The parameters hold y; `averaged()` gives x."""

    def step(self, grads: list[Tensor | None], lr: float, beta: float | None = None) -> None:
        settings = self.settings
        warmup = settings["warmup_updates"]
        rate = lr * (min(1.0, (self.count + 1) / warmup) if warmup else 1.0)
        self.peak = max(getattr(self, "peak", 0.0), rate)
        self.total = getattr(self, "total", 0.0) + self.peak**2
        self.weight = self.peak**2 / self.total
        if not self.count:
            self.points = [param.detach().clone() for param in self.params]
            self.means = [param.detach().clone() for param in self.params]
        super().step(grads, rate, beta)

    def move(self, index: int, grad: Tensor, lr: float, beta: float | None) -> None:
        param, settings = self.params[index], self.own[index]
        if settings["base"] == "adamw":
            second = self.buffer(index, "second").mul_(settings["beta2"]).addcmul_(grad, grad, value=1 - settings["beta2"])
            grad = grad / ((second / (1 - settings["beta2"] ** self.steps[index])).sqrt() + settings["eps"])
        grad = grad + self.decay(index) * param
        self.points[index] -= lr * grad
        self.means[index].lerp_(self.points[index], self.weight)
        param.copy_((1 - settings["beta1"]) * self.points[index] + settings["beta1"] * self.means[index])

    def averaged(self) -> list[Tensor]:
        """The weights x."""
        return self.means if self.count else [param.detach().clone() for param in self.params]


DEFINED: dict[str, type[Defined]] = {
    "sgd": SGD, "adamw": AdamW, "lamb": LAMB, "lars": LARS, "muon": Muon, "schedule_free": ScheduleFree,
}  # fmt: skip
