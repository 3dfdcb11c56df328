"""Optimizer: any optimiser of torch or of another package, by its dotted name.

`plugins.optimizer.target=schedulefree.AdamWScheduleFree` takes it from that
package, and `'plugins.optimizer.args={weight_decay:0.01}'` gives it what it
takes beside its parameters and `lr`. In Python the target may be the class
itself, or a function (params, lr=..., **args) that makes the optimiser.

Before the run it steps a few tensors of its own. So one that needs a closure
(LBFGS), gradients of gradients (AdaHessian) or sparse gradients (SparseAdam) is
refused before the first update, and one whose state_dict is not all that it
keeps gives a warning.

Helps   optimisers that accel does not have: RAdam, NAdam, Adafactor and Rprop
        of torch; those of pytorch-optimizer, schedulefree and bitsandbytes.
Hurts   where `adamw`, `sgd`, `lamb`, `lars`, `muon` or `schedule_free` is the
        same: those are fused, read nothing on the host and can be captured.
Costs   its own step. Gradients are divided by a loss scale or a clip's factor
        in a pass of their own, and a loss scale is waited for once per update.
        One that has its own mode for evaluation is evaluated in it, with a copy
        of the weights beside.
Source  `torch.optim.Optimizer`.
Exact   The bits of the same optimiser in a loop of your own. Its state, the
        counters of its groups and the dtypes of both are in the checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accel.device.dtensor import is_dtensor
from accel.errors import ConfigError, describe
from accel.parts import Average, Optim
from accel.parts.parallel import NOTHING
from accel.parts.shared.groups.grouped_state import NAMES, regrouped
from accel.parts.shared.imported.dotted_name import accepted_names, check_arguments, dotted_name, first_line, is_users, resolve
from accel.parts.shared.imported.optimizer_trial import OptimizerTrial, restore_dtypes, try_loaded, try_optimizer
from accel.values import Positive, Share

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Optimizer"]

EXAMPLE = "torch.optim.RAdam"
IMPLEMENTATIONS = ("foreach", "fused", "capturable", "differentiable")
"""Arguments of torch's optimisers that choose how they compute."""


@dataclass(eq=False)
class Optimizer(Optim):
    """Optimiser that is named by its class.

    Args:
        target: dotted name of the class of an optimiser, such as torch.optim.RAdam, or of a function that makes one.
        lr: learning rate.
        args: other arguments of the optimiser by name, such as {weight_decay: 0.01}; null for its own defaults.
        groups: settings for some parameters: dicts of match and lr, lr_scale, weight_decay, ...; the first match counts.
        layer_decay: factor on the learning rate from one layer to the one below it; the top layer has the whole; 1 for none.
    """

    target: Any = "torch.optim.RMSprop"
    lr: Positive = 1e-3
    args: dict[str, Any] | None = None
    groups: list[dict[str, Any]] | None = None
    layer_decay: Share = 1.0

    def __post_init__(self) -> None:
        self.maker = resolve(f"{self.name}.target", self.target, EXAMPLE)
        self.title = self.target if isinstance(self.target, str) else dotted_name(self.target)
        if isinstance(self.maker, type) and not issubclass(self.maker, torch.optim.Optimizer):
            raise ConfigError(f"{self.name}.target: {self.title} is no optimiser (torch.optim.Optimizer), as {EXAMPLE} is")
        super().__post_init__()
        for name, reason in (("params", "the parameters are the model's"), ("lr", f"write {self.name}.lr=...")):
            if name in (self.args or {}):
                raise ConfigError(f"{self.name}.args has {name}: {reason}; leave it out there")
        check_arguments(f"{self.name}.args", self.title, self.maker, {"lr": self.lr, **(self.args or {})})
        self.trial: OptimizerTrial | None = None

    @property
    def group_settings(self) -> list[str]:
        names = accepted_names(self.maker)[0]
        numbers = [name for name, one in names.items() if type(one.default) in (int, float) and name != "lr"]
        return numbers + ["beta1", "beta2"] * ("betas" in names)

    @property
    def is_adam(self) -> bool:  # type: ignore[override]
        """Whether its name says that it is a kind of Adam."""
        return "adam" in self.title.rpartition(".")[2].lower()

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> torch.optim.Optimizer:
        tensors = [param for _, param in params]
        if self.trial is None:
            self.trial = try_optimizer(f"{self.name}.target: {self.title}", self.make, tensors, device)
        optimizer = self.make(tensors)
        moved = [id(param) for group in optimizer.param_groups for param in group["params"]]
        if left := [name for name, param in params if id(param) not in moved] or len(moved) != len(params):
            which = f"leaves out {left[0]}" if isinstance(left, list) else "has parameters twice, or others"
            raise ConfigError(f"{self.name}.target: {self.title} {which}; it must move each parameter that it is given once")
        self.averages = bool(self.trial.modes)
        if self.averages:
            optimizer.train()  # type: ignore[attr-defined]
        return optimizer

    def make(self, params: list[Tensor]) -> torch.optim.Optimizer:
        """Return the optimiser over some tensors. Raise ConfigError if its arguments cannot work."""
        arguments = dict(self.args or {})
        if self.maker.__module__.startswith("torch.optim.") and "foreach" in accepted_names(self.maker)[0]:
            plain = not any(map(is_dtensor, params)) and not arguments.keys() & set(IMPLEMENTATIONS)
            arguments |= {"foreach": True} if plain else {}  # one operation for all, on a CPU too
        try:
            optimizer = self.maker(params, lr=self.lr, **arguments)
        except Exception as error:
            raise ConfigError(f"{self.name}.target: {self.title} cannot be made: {first_line(error)}") from error
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ConfigError(f"{self.name}.target: {self.title} makes {describe(optimizer)}, and no torch.optim.Optimizer")
        if not all("lr" in group for group in optimizer.param_groups):
            raise ConfigError(f"{self.name}.target: {self.title} keeps no lr in its groups, so no schedule could move it")
        return optimizer

    def setup(self, run: Run) -> None:
        super().setup(run)
        assert self.trial is not None
        if self.trial.unsaveable and run.has_run_directory:
            raise ConfigError(
                f"{self.name}.target: {self.title} keeps {self.trial.unsaveable}, which no checkpoint can; take another, or a run "
                "without a directory (out)"
            )
        if self.trial.draws and run.parts.parallel.world_size > 1:
            raise ConfigError(
                f"{self.name}.target: {self.title} draws random numbers, which differ between ranks, so their weights would drift "
                f"apart; take another, or leave {run.parts.parallel.name} out"
            )

    def assemble(self, params: list[tuple[str, Tensor]], device: torch.device) -> None:
        super().assemble(params, device)
        self.fused = False  # no kernel of another package heeds a loss scale, and torch's divides shared gradients twice

    def follow_parameters(self, run: Run) -> None:
        before = {id(param): group for group in self.optimizer.param_groups for param in group["params"]}
        for_all = {key: value for key, value in self.optimizer.state.items() if isinstance(key, str)}
        super().follow_parameters(run)
        self.optimizer.state.update(for_all)
        for group in self.optimizer.param_groups:
            self.keep_counters(group, next((before[id(param)] for param in group["params"] if id(param) in before), {}))

    def keep_counters(self, group: dict[str, Any], before: Mapping[str, Any]) -> None:
        """Give a group the counters that another has."""
        assert self.trial is not None
        group.update({key: before[key] for key in self.trial.counters if key in before})

    def weights(self) -> AbstractContextManager[None]:
        begun = bool(self.optimizer.state)  # before its first step some have nothing to switch to
        return self.evaluation_mode() if self.averages and begun else NOTHING

    @contextmanager
    def evaluation_mode(self) -> Iterator[None]:
        """Switch the optimiser to its mode for evaluation, and back to the weights that are trained, bit for bit."""
        optimizer: Any = self.optimizer
        params = [param for group in optimizer.param_groups for param in group["params"]]
        copies = [param.detach().clone() for param in params]
        optimizer.eval()
        try:
            yield
        finally:
            optimizer.train()
            with torch.no_grad():
                for param, copy in zip(params, copies, strict=True):
                    param.copy_(copy)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for_all: Any = {key: value for key, value in state["state"].items() if isinstance(key, str)}
        state = {**state, "state": {key: value for key, value in state["state"].items() if key not in for_all}}
        names, groups = self.names_in_order(), self.optimizer.param_groups
        moved = regrouped(state, self.plain_order, names, groups)
        if moved is not state:
            for group in moved["param_groups"]:
                self.keep_counters(group, state["param_groups"][0])
            moved = {**moved, NAMES: names}
        super().load_state_dict(moved)
        restore_dtypes(self.optimizer, moved)
        self.optimizer.state.update(for_all)
        if self.is_changed:
            try_loaded(f"{self.name}.target: {self.title}", self.optimizer)

    def written(self) -> list[dict[str, str]]:
        return [{**texts, "target": self.title} for texts in super().written()]

    def given_code(self) -> list[Any]:
        return [*super().given_code(), *([self.maker] if is_users(self.maker) else [])]

    def plan_notes(self) -> Mapping[str, str]:
        mode = "; evaluated in its own mode for that" if self.averages else ""
        return {**super().plan_notes(), "optimizer": f"{self.title}, not fused{mode}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        messages = super().ineffective_settings(run)
        if self.averages and type(run.parts.average) is not Average:
            messages.append(
                f"{run.parts.average.name} averages the weights that are trained, and is evaluated in place of those of "
                f"{self.name}.target: {self.title}"
            )
        if self.trial is not None and not (self.trial.exact or self.trial.unsaveable):
            messages.append(
                f"{self.name}.target: {self.title} keeps more than its state_dict has, so a resumed run is not to the bit the "
                "unbroken one"
            )
        return messages

    def identity(self) -> dict[str, Any] | None:
        return {**(super().identity() or {}), "target": dotted_name(self.maker)}
