"""Reparam: branches beside the convolutions while they train, merged into one for use.

While the model trains, each convolution is a sum: `repvgg` adds a convolution of
one point and, where shapes allow, the identity; `acnet` a row and a column. Each
has a BatchNorm, and that of the model which followed the convolution belongs to
it. An evaluation computes with the merged kernel, and the run directory has the
merged model beside the trained one, in `shipped.safetensors`: as large and as
fast as the model without the plugin.

Helps   accuracy of plain convolutional models that train for long, such as VGG.
Hurts   short runs; models that have such branches already. Named weights change:
        `conv.weight` is `conv.main.conv.weight` to `freeze` and `groups`.
Costs   while it trains, the arithmetic of the branches, and their activations:
        an update took 1.52 times as long with repvgg (1.11 to 2.09), 1.88 with
        acnet (1.13 to 3.14), the model that is merged 1.00 (0.91 to 1.10) and
        0.98 (0.92 to 1.04): 7 convolutions, 32 pictures of 32 pixels, one thread
        of an AMD EPYC, 2026-11-29, n=12 rounds for the updates, 36 and 56 for the
        merged ones, bounds of 99 %, on a busy machine (`benchmarks/shapes.py`).
Source  Ding et al., RepVGG, arXiv 2101.03697; Ding et al., ACNet, arXiv
        1908.03930. `start=paper` is their initialisation: new convolutions as
        torch makes them, and the scale of every norm that of the model's own,
        1 if it is new; for acnet a third of it, as the authors advise in
        github.com/DingXiaoH/ACNet. With `start=same` the new scales are 0, so
        that a trained model goes on from where it is.
Exact   The merged convolution computes the sum of the branches in evaluation, to
        1e-5 in float32: kernels are added in float64, and rounded once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from accel.compress.add_branches import BranchPlan, Start, branch_names, insert_branches, start_branches, why_not
from accel.compress.branched_conv import BranchedConv
from accel.compress.conv_norm_pairs import conv_norm_pairs
from accel.compress.convolutions import names_by_module, shared_parameters
from accel.compress.merge_branches import merge_branches, place_merged
from accel.errors import ConfigError, listed
from accel.parts import Branches, Shipped
from accel.parts.shared.name_patterns import matching_some

if TYPE_CHECKING:
    from accel.parts import Run

__all__ = ["Reparam"]


@dataclass(eq=False)
class Reparam(Branches):
    """Branches beside convolutions, merged for use.

    Args:
        kind: branches: repvgg adds a 1x1 convolution and the identity; acnet a 1xk and a kx1 convolution.
        layers: patterns for the names of convolutions; null takes all that a BatchNorm follows and that can have branches.
        start: what training begins with: paper as its authors do; same so that the model computes what it did.
    """

    kind: Literal["repvgg", "acnet"] = "repvgg"
    layers: list[str] | None = None
    start: Literal["paper", "same"] = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plans: dict[str, dict[str, Any]] = {}
        """The plan of each convolution with branches, by its name, as plain values."""
        self.left: dict[str, str] = {}
        """Why a convolution has none, by its name."""

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        self.plans, self.left = dict((structure or {}).get("layers", {})), {}
        if (structure or {}).get("merged"):
            self.plans = {}  # what has been merged is a plain convolution
        pairs = conv_norm_pairs(model)
        start: Start = self.start
        for name in self.chosen(model, pairs):
            conv: Any = model.get_submodule(name)
            norm = pairs.get(name)
            plan = BranchPlan(branch_names(conv, self.kind), norm, norm is None and start == "paper")
            model = insert_branches(model, name, plan)
            branched = model.get_submodule(name)
            assert isinstance(branched, BranchedConv)
            start_branches(branched, start, self.kind)
            self.plans[name] = plan._asdict()
        return model

    def chosen(self, model: nn.Module, pairs: dict[str, str]) -> list[str]:
        """Return the names of the convolutions that get branches. Those that have some are left out.

        Raises:
            ConfigError: for a pattern that matches no layer, and a layer that can have none, if it is named.
        """
        names = {module: each for module, each in names_by_module(model).items() if is_convolution(module)}
        branched = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, BranchedConv))
        shared = shared_parameters(model)
        reasons: dict[str, str] = {}
        for module, each in names.items():
            name = each[0]
            if isinstance(module, BranchedConv) or name.startswith(branched):
                continue
            reasons[name] = why_not(module, self.kind)
            if len(each) > 1 or any(id(param) in shared for param in module.parameters(recurse=False)):
                reasons[name] = "has weights that other layers have too"
        if self.layers is None:
            reasons = {name: reason or ("" if name in pairs else "has no BatchNorm after it") for name, reason in reasons.items()}
            self.left = {name: reason for name, reason in reasons.items() if reason}
            return [name for name in reasons if name not in self.left]
        candidates = [each[0] for each in names.values()]
        layers = [
            name for pattern in self.layers for name in matching_some(pattern, candidates, f"{self.name}.layers", "convolution")
        ]
        layers = [name for name in dict.fromkeys(layers) if name in reasons]
        for name in layers:
            if reasons[name]:
                raise ConfigError(f"{self.name}.layers: {name} {reasons[name]}; leave it out of the patterns")
        return layers

    def structure(self) -> dict[str, Any]:
        return {"layers": self.plans} if self.plans else {}

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        for name, plain in structure.get("layers", {}).items():
            try:
                if isinstance(model.get_submodule(name), BranchedConv):
                    continue
                plan = BranchPlan(**plain)
                model = place_merged(model, name, plan.norm) if structure.get("merged") else insert_branches(model, name, plan)
            except (AttributeError, TypeError, KeyError, ValueError) as error:
                raise ConfigError(
                    f"its convolution {name} had branches, and this model has no such layer; give the model of the run"
                ) from error
        return model

    @classmethod
    def ship(cls, model: nn.Module, structure: dict[str, Any]) -> Shipped:
        return Shipped(merge_branches(model), structure | {"merged": True})

    def capture_blocker(self) -> str:
        return ""

    def plan_notes(self) -> Mapping[str, str]:
        if not self.plans:
            return {}
        counts = Counter(len(plan["branches"]) for plan in self.plans.values())
        words = ", ".join(f"{number} more in {count}" for number, count in sorted(counts.items()))
        left = f"; as they are: {listed([f'{name}, which {reason}' for name, reason in self.left.items()], 2)}" if self.left else ""
        return {"branches": f"{self.kind} beside {len(self.plans)} convolutions ({words}){left}"}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.plans:
            return []
        why = next((f": {name} {reason}" for name, reason in self.left.items()), ": the model has no convolution")
        return [f"reparam has no effect{why}"]


def is_convolution(module: nn.Module) -> bool:
    """Return whether a module is a convolution of any kind, or one with branches."""
    return isinstance(module, nn.modules.conv._ConvNd | BranchedConv)
