"""The optimiser: how the weights move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from accel.device.torch_startup import avoid_dynamo_import, unwrapped_step
from accel.errors import ConfigError
from accel.optim.fused import Fused
from accel.optim.kernels.fused_support import has_fused, plain_dtypes
from accel.optim.sgd import FusedSGD
from accel.parts.grads import Grads
from accel.parts.model_shape.replacement import Replacement, carry_states
from accel.parts.parallel import NOTHING
from accel.parts.part import Part
from accel.parts.run import Run
from accel.parts.shared.groups.group_rules import read_rules
from accel.parts.shared.groups.grouped_state import NAMES, WRITTEN, regrouped, sharded_like, update_groups, written_settings
from accel.parts.shared.groups.parameter_groups import ParameterGroups, decayed
from accel.parts.shared.groups.width_scaling import WIDTHS
from accel.system.deprecation.old_attributes import MovedAttribute

__all__ = ["Optim", "sgd"]


@dataclass(eq=False)
class Optim(Part):
    """Optimiser of a run; plainest: SGD with momentum 0.9 at a learning rate of 0.01."""

    lr = 0.01
    scale = 1.0
    """Factor on `lr` in this run (part Rate)."""
    groups = cast("list[dict[str, Any]] | None", None)
    layer_decay = 1.0
    averages = False  # whether the weights that are evaluated are an average of its own
    is_adam = False
    """Whether the learning rates of muP are those for it."""
    step_alone = MovedAttribute("step_one")
    together = MovedAttribute("why_not_per_parameter")
    pins = MovedAttribute("capture_refs")

    def __post_init__(self) -> None:
        super().__post_init__()
        excludes, rules = self.settings.get("exclude") == "norm_and_bias", read_rules(self.name, self.groups, self.group_settings)
        self.parameter_groups = ParameterGroups(self.name, rules, self.layer_decay, excludes=excludes)

    @property
    def group_settings(self) -> list[str]:
        """Names of the settings that a rule of `groups` may give some parameters, besides `lr`."""
        return [name for name in ("weight_decay", "momentum", "beta1", "beta2", "eps") if name in self.settings]

    def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
        """Return the torch optimiser over the trainable parameters, given by name. A subclass overrides this alone."""
        return sgd(params, fused=has_fused(params, device), lr=self.lr, momentum=0.9)

    def setup(self, run: Run) -> None:
        avoid_dynamo_import()
        self.later: list[str] = []
        """Sentences for the summary on parameters and gradients, known only after the start."""
        params = run.parts.precision.parameters(run.unwrapped_model)
        self.parameter_groups.match(run.unwrapped_model)
        if self.parameter_groups.widths and not self.is_adam:
            raise ConfigError(WIDTHS.format(self.name))
        self.assemble(params, run.device)
        self.scale = run.parts.rate.factor
        if self.scale != 1:
            self.set_lr(self.lr * self.scale)

    def assemble(self, params: list[tuple[str, Tensor]], device: torch.device) -> None:
        """Build the torch optimiser over `params`, and keep what an update asks of it."""
        self.optimizer = self.build(params, device)
        self.names = {id(param): name for name, param in params}
        self.plain_order = self.names_in_order()
        if self.parameter_groups.active:
            self.parameter_groups.split(self.optimizer, params)
        self.step_fn = unwrapped_step(self.optimizer)
        if isinstance(self.optimizer, Fused):
            self.optimizer.frees_grads = True  # the update frees the gradients after the step
        self.fused = bool(self.optimizer.defaults.get("fused"))
        self.plain_dtypes = plain_dtypes(self.optimizer)
        self.group_texts = written_settings(self.optimizer.param_groups)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.ratios = [rate / self.lr for rate in self.rates]
        self.rate, self.lr_on_device = self.lr, False

    def names_in_order(self) -> list[str]:
        """Return the names of the parameters in the order of the optimiser's state."""
        return [self.names[id(param)] for group in self.optimizer.param_groups for param in group["params"]]

    def replace_parameters(self, replacements: Sequence[Replacement]) -> None:
        carry_states(self.optimizer.state, replacements)

    def follow_parameters(self, run: Run) -> None:
        before, rate, on_device = self.optimizer, self.rate, self.lr_on_device
        self.parameter_groups.match(run.unwrapped_model, anew=True)
        self.assemble(run.parts.precision.params, run.device)
        for group in self.optimizer.param_groups:
            self.optimizer.state.update({param: before.state[param] for param in group["params"] if param in before.state})
        if any(group.get("cycled") for group in before.param_groups):
            self.cycle_momentum()
            for group in self.optimizer.param_groups:
                group["uneven"] = True  # its parameters have made different steps
        if on_device:
            self.to_device_scalars()
        self.set_lr(rate)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate. Groups keep their ratio to it."""
        self.set_rates(lr, [lr * ratio for ratio in self.ratios])

    def set_rates(self, lr: float, rates: list[float]) -> None:
        """Set the learning rate of each group, in their order; `lr` is the one that is shown."""
        self.rate, self.rates = lr, rates
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if self.lr_on_device:
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @property
    def has_momentum(self) -> bool:
        """Whether every group keeps a moving average of the gradient: `momentum` (SGD), or the first of `betas` (Adam)."""
        return all("betas" in group or group.get("momentum") for group in self.optimizer.param_groups)

    def set_momentum(self, momentum: float) -> None:
        """Set the momentum, or the first of the betas, of every group. Raise ConfigError if updates are replayed."""
        if self.lr_on_device:
            raise ConfigError("the momentum cannot move where updates are replayed: it is a number of the host; keep it constant")
        for group in self.optimizer.param_groups:
            group.update({"betas": (momentum, *group["betas"][1:])} if "betas" in group else {"momentum": momentum})

    def cycle_momentum(self) -> None:
        """Prepare for `set_momentum`: fused optimisers that correct their first moment by beta1 then keep the product of betas."""
        for rule in self.parameter_groups.rules:
            if moved := [name for name in ("momentum", "beta1") if name in rule.values]:
                raise ConfigError(f"{rule.place} sets {moved[0]}, which cycle_momentum moves for all; leave one of them out")
        for group in (group for group in self.optimizer.param_groups if "betas" in group):
            group["cycled"] = True

    def step(self, grads: Grads) -> None:
        """Make one step with the true gradients; none at all if `found_inf` is 1.

        A fused optimiser divides by the factor and obeys `found_inf` inside its kernel, so nothing is read on the host. Any other
        needs the gradients materialised, and one read if a loss scale, or a number of items on the device, can skip updates.
        """
        if self.fused:
            grads.materialise_wide()
            self.optimizer.grad_scale = grads.scale  # type: ignore[attr-defined]
            self.optimizer.found_inf = grads.found_inf  # type: ignore[attr-defined]
            self.step_fn()
        elif grads.found_inf is None or not grads.found_inf.item():
            grads.materialise()
            self.step_fn()

    def step_one(self, param: Tensor, found_inf: Tensor | None = None) -> None:
        """Make one step of one parameter with its true gradient, while no other has one; none if `found_inf` is 1."""
        if isinstance(self.optimizer, Fused):
            self.optimizer.found_inf = found_inf
            self.optimizer.step_one(param)
        else:
            self.step(Grads([param], found_inf=found_inf))

    def why_not_per_parameter(self) -> str:
        """Return why its parameters cannot step one by one, and what to do; empty if they can."""
        kind = type(self.optimizer)
        if (issubclass(kind, Fused) and kind.per_parameter) or kind.__module__.startswith("torch.optim."):
            return ""
        return f"{kind.__name__} may keep or compute something for several parameters; leave one out: '~plugins.{self.name}'"

    def weights(self) -> AbstractContextManager[None]:
        """Give the tensors that it moves the values to evaluate and to hand out; afterwards those to train on, bit for bit."""
        return NOTHING

    def capture_blocker(self) -> str:
        kind = type(self.optimizer)
        if not issubclass(kind, Fused):
            return f"{self.name}: {kind.__name__} is not fused, and takes its numbers from the host"
        if kind.reads_on_host and any(
            param.device.type == "cpu" for group in self.optimizer.param_groups for param in group["params"]
        ):
            return f"{self.name} reads its norms on the host, where weights are in its memory"
        return ""

    def to_device_scalars(self) -> None:
        """Make the learning rates 0-dim float32 tensors on the device, which `set_lr` fills."""
        self.lr_on_device = True
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = torch.full((), rate, dtype=torch.float32, device=group["params"][0].device)

    def capture_refs(self) -> Any:
        """Return the tensors that its kernels use besides weights, gradients and state: they must live as long as the graph."""
        return [self.optimizer.rows, dict(self.optimizer.partial_rows)] if isinstance(self.optimizer, Fused) else []

    def plan_notes(self) -> Mapping[str, str]:
        name = type(self.optimizer).__name__.removeprefix("Fused")
        notes = {"optimizer": f"{name}, {'fused' if self.fused else 'not fused'}{self.plain_note()}"}
        return notes | self.parameter_groups.plan_notes(self.lr, self.scale)

    def ineffective_settings(self, run: Run) -> list[str]:
        return self.parameter_groups.ineffective()

    def plain_note(self) -> str:
        """Return which weights a fused optimiser moves by plain operations, in words for the plan; empty for none."""
        dtypes = " and ".join(self.plain_dtypes)
        return f"; {dtypes} weights by plain operations, for which torch's kernel is wrong or missing here" if dtypes else ""

    def summary_notes(self) -> list[str]:
        return self.later

    def identity(self) -> dict[str, Any] | None:
        return {name: value for name, value in self.settings.items() if name not in ("groups", "layer_decay") or self.changed(name)}

    def state_dict(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()
        if self.lr_on_device:  # the format is the same, on the device or not
            for group, rate in zip(state["param_groups"], self.rates, strict=True):
                group["lr"] = rate
        return {**state, **({NAMES: self.names_in_order()} if self.parameter_groups.active else {}), WRITTEN: self.written()}

    def written(self) -> list[dict[str, str]]:
        """Return the settings of the groups as the user wrote them, whatever a schedule has made of them since."""
        pairs = zip(self.group_texts, self.ratios, strict=True)
        return [{**texts, "lr": repr(self.lr * self.scale * ratio)} for texts, ratio in pairs]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        groups = self.optimizer.param_groups
        state = regrouped(state, self.plain_order, self.names_in_order(), groups)
        fresh = [{**group, "lr": rate} for group, rate in zip(groups, self.rates, strict=True)]
        self.optimizer.load_state_dict({**state, "state": sharded_like(groups, state["state"])})
        self.is_changed = update_groups(self.optimizer, fresh, state.get(WRITTEN), self.written())
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        written = [rate for rate in (self.rate, self.lr * self.scale) if self.rates == [rate * ratio for ratio in self.ratios]]
        derived = [rate / ratio for rate, ratio in zip(self.rates, self.ratios, strict=True) if ratio]
        self.rate = [*written, *derived, self.rate][0]
        if self.lr_on_device:
            self.to_device_scalars()


def sgd(params: list[tuple[str, Tensor]], fused: bool, exclude: str = "none", **settings: Any) -> Optimizer:
    """Return SGD over `params`, in torch's fused kernel or in its foreach implementation."""
    groups = decayed(params, exclude)
    return FusedSGD(groups, **settings) if fused else torch.optim.SGD(groups, foreach=True, **settings)
