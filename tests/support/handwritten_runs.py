"""What a careful engineer would write by hand for a random run, in plain torch."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from math import nan
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from accel.optim.hidden_matrices import hidden_matrices
from tests.support.defined_optimizers import DEFINED, ScheduleFree
from tests.support.handwritten_schedules import rates
from tests.support.random_runs import Case, first_rules
from tests.support.random_tasks import epoch_batches, loss, make_data, make_model

Window = list[tuple[Tensor, Tensor]]


@dataclass
class Outcome:
    """What a run ends with."""

    weights: list[Tensor]
    """The weights that are handed out: averaged ones, where there are any."""
    losses: list[Tensor]
    metrics: float
    """The mean loss over the evaluation data."""
    buffers: list[Tensor]
    start: list[Tensor]
    logged: list[float]
    """The number that the loss logs, of each update."""


class HandRun:
    """A run of a case, written without accel.

    Args:
        case: the run.
    """

    def __init__(self, case: Case) -> None:
        torch.manual_seed(case.seed)
        self.case, self.model, self.data = case, make_model(case), make_data(case)
        self.start = [param.detach().clone() for param in self.model.parameters()]
        self.rules = first_rules(self.model, [rule["match"] for rule in case.freeze], trained=True)
        self.trained = [(name, param) for name, param in self.model.named_parameters() if param.requires_grad]
        self.params = [param for _, param in self.trained]
        settings = case.settings | {"matrices": hidden_matrices(self.model)}
        settings["warmup_updates"] = round(case.settings.get("warmup", 0))
        self.optimizer = DEFINED[case.optimizer](self.trained, settings, self.own_settings())
        self.rates = rates(*(case.schedule or ("", {})), case.settings["lr"], case.updates)
        self.average = [param.detach().clone() for param in self.params]
        self.snapshots: list[list[Tensor] | None] = []
        """The weights of each snapshot; None for one before which nothing had moved."""
        self.moved, self.snapshot_epoch = False, 0
        self.scale, self.losses, self.logged = 2.0**10, list[Tensor](), list[float]()

    def own_settings(self) -> dict[str, dict[str, Any]]:
        """The settings of each parameter that differ from the optimiser's: those of the first rule that matches it."""
        case, own = self.case, dict[str, dict[str, Any]]()
        for name, place in first_rules(self.model, [rule["match"] for rule in case.groups]).items():
            values = {} if place is None else {key: value for key, value in case.groups[place].items() if key != "match"}
            layer = next((int(place) for place in "012" if name.startswith(f"body.{place}.")), 3)
            scale = values.pop("lr_scale", 1.0) * (case.layer_decay ** (3 - layer) if case.layer_decay != 1 else 1.0)
            rate = {"rate": values.pop("lr")} if "lr" in values else {"rate_factor": scale}
            if "weight_decay_scale" in values:
                values["weight_decay"] = case.settings["weight_decay"] * values.pop("weight_decay_scale")
            own[name] = values | rate
        return own

    def is_frozen(self, name: str, update: int) -> bool:
        """Whether a parameter is frozen in an update, from 0."""
        rule = self.rules.get(name)
        end = None if rule is None else self.case.thaws()[rule]
        return rule is not None and (end is None or update < end)

    def hold(self, update: int) -> None:
        """Freeze what is frozen in an update, from 0; a norm stands still while all that it would train is frozen."""
        for name, param in self.trained:
            param.requires_grad_(not self.is_frozen(name, update))
        self.model.train()
        for path, module in self.model.named_modules():
            if isinstance(module, _BatchNorm):
                module.train(not all(self.is_frozen(f"{path}.{name}", update) for name, _ in module.named_parameters()))

    def train(self) -> Outcome:
        """Train as one would without accel."""
        case, update, epoch = self.case, 0, 0
        while update < case.updates:
            batches = list(epoch_batches(case, self.data, epoch))
            for first in range(0, len(batches), case.window):
                if update == case.updates:
                    break
                self.hold(update)
                self.update(batches[first : first + case.window], update)
                update += 1
                if update in case.snapshots:
                    # at the end of an epoch the next one is under way
                    self.snapshot_epoch = epoch + (case.average is not None and case.average["every"] is None)
                    self.snapshots.append([param.detach().clone() for param in self.params] if self.moved else None)
                    self.moved = False
            epoch += 1
        return self.hand_out()

    def update(self, window: Window, update: int) -> None:
        """Move everything by a window, unless it is skipped."""
        case, model = self.case, self.model
        saved = [buffer.clone() for buffer in model.buffers()]
        mean, logged = backward(case, model, window, self.scale if case.cast is torch.float16 else 1.0)
        self.losses.append(mean)
        self.logged.append(logged)
        grads = [gradient(param) for param in self.params]
        model.zero_grad()
        is_empty = case.tokens and not any(int((y >= 0).sum()) for _, y in window)
        finite = all(bool(grad.isfinite().all()) for grad in grads if grad is not None)
        finite = finite and (not case.guard or bool(mean.isfinite())) and not is_empty
        with torch.no_grad():
            if finite or not (is_empty or case.guard or case.cast is torch.float16):
                self.moved = True
                self.optimizer.step(clipped(case, grads), self.rates[update])
                decay = min(case.ema or 0.0, (1 + update) / (10 + update))  # as a schedule, it counts skipped updates too
                pairs = zip(self.average, self.params, strict=True)
                self.average = [average * decay + param * (1 - decay) for average, param in pairs]
            else:
                self.scale *= 1.0 if is_empty else 0.5
                if case.guard:
                    for buffer, before in zip(model.buffers(), saved, strict=True):
                        buffer.copy_(before)

    def hand_out(self) -> Outcome:
        """Put the averaged weights into the model and evaluate it."""
        case, model = self.case, self.model
        averages = self.averages()
        with torch.no_grad():
            for param, average in zip(self.params, averages, strict=True):
                param.copy_(average)
            if case.average is not None and case.average["batch_norm"] != 0 and any(self.snapshots):
                self.estimate(case.average["batch_norm"])
            model.eval()
            held_out = make_data(case, offset=1)
            with torch.autocast("cpu", case.cast) if case.cast else nullcontext():
                out = loss(case, model, held_out)
        weights = [param.detach().clone() for param in model.parameters()]
        is_empty = case.tokens and not int((held_out[1] >= 0).sum())
        value = nan if is_empty else float(out[0] if isinstance(out, tuple) else out)
        buffers = [buffer.clone() for buffer in model.buffers()]
        return Outcome(weights, self.losses, value, buffers, self.start, self.logged)

    def averages(self) -> list[Tensor]:
        """The weights to hand out."""
        if isinstance(self.optimizer, ScheduleFree):
            return self.optimizer.averaged()
        if self.case.ema is not None:
            return self.average
        newest = self.snapshots[-(self.case.average["last"] or 99) :] if self.case.average is not None else []
        counting = [snapshot for snapshot in newest if snapshot is not None]
        if not counting:
            return [param.detach().clone() for param in self.params]
        return [torch.stack(each).mean(0) for each in zip(*counting, strict=True)]

    def estimate(self, limit: int | None) -> None:
        """Estimate BatchNorm's statistics anew on the first batches of an epoch; those of a frozen norm stand still."""
        self.hold(self.case.snapshots[-1] - 1)
        norms = [module for module in self.model.modules() if isinstance(module, _BatchNorm) and module.training]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        for batch in list(epoch_batches(self.case, self.data, self.snapshot_epoch))[:limit]:
            loss(self.case, self.model, batch)


def by_hand(case: Case) -> Outcome:
    """The outcome of a case without accel."""
    return HandRun(case).train()


def backward(case: Case, model: nn.Module, window: Window, scale: float) -> tuple[Tensor, float]:
    """Leave the gradients of a window's mean loss in the parameters; return that mean, and that of the logged number."""
    counts = [int((y >= 0).sum()) if case.tokens else len(y) for _, y in window]
    total, mean, logged = max(1, sum(counts)), torch.zeros((), dtype=case.dtype), 0.0
    for batch, count in zip(window, counts, strict=True):
        with torch.autocast("cpu", case.cast) if case.cast else nullcontext():
            out = loss(case, model, batch)
        value = out[0] if isinstance(out, tuple) else out
        if not count:
            continue  # nothing but the model's statistics moves by it
        (value * (count / total * scale)).backward()
        mean += value.detach() * (count / total)
        logged += float(out[-1]["size"]) * count / total if case.scalars else 0.0
    for param in model.parameters():
        if param.grad is not None:
            param.grad /= scale
    return mean, logged


def gradient(param: nn.Parameter) -> Tensor | None:
    """The gradient of a parameter, zeros where nothing has given it one; None for a frozen one."""
    if not param.requires_grad:
        return None
    return torch.zeros_like(param) if param.grad is None else param.grad


def clipped(case: Case, grads: list[Tensor | None]) -> list[Tensor | None]:
    """The gradients of what is not frozen, limited."""
    if case.clip is None:
        return grads
    mode, limit = case.clip
    if mode == "value":
        return [None if grad is None else grad.clamp(-limit, limit) for grad in grads]
    norm = float(torch.cat([grad.flatten() for grad in grads if grad is not None]).norm())
    return [None if grad is None else grad * min(1.0, limit / (norm + 1e-6)) for grad in grads]
