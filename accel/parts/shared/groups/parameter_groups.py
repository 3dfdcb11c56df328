"""Parameter groups: the groups of a torch optimiser, split by rules and by the depth of a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from accel.errors import ConfigError
from accel.parts.shared.groups.group_rules import FACTORS, GroupRule
from accel.parts.shared.groups.layer_depth import layers_of
from accel.parts.shared.groups.width_scaling import width_multipliers, width_note
from accel.parts.shared.name_patterns import matching, matching_some

__all__ = ["ParameterGroups", "decayed"]


class ParameterGroups:
    """The rules of one optimiser for the parameters of one model. The first rule that matches a parameter is the one that counts.

    Args:
        owner: the name of the plugin.
        rules: the rules, in their order.
        layer_decay: the factor on the learning rate from one layer to the one below it; 1 for none.
        excludes: whether parameters of at most one dimension have no weight decay, whatever a rule says.
    """

    def __init__(self, owner: str, rules: list[GroupRule], layer_decay: float = 1.0, *, excludes: bool = False) -> None:
        self.owner, self.rules, self.layer_decay, self.excludes = owner, rules, layer_decay, excludes
        self.rule_of: dict[str, int] = {}
        self.layers: dict[str, int] = {}
        self.widths: dict[str, float] = {}
        """Width over base width of each hidden matrix of a model that is scaled by its width (muP)."""

    @property
    def active(self) -> bool:
        """Whether any parameter may have settings of its own."""
        return bool(self.rules or self.widths or self.layer_decay != 1)

    def match(self, model: nn.Module, *, anew: bool = False) -> None:
        """Find the rule and the layer of each parameter of a model, frozen ones included.

        Args:
            model: the user's own. A tied parameter is matched by each of its names.
            anew: whether the run has begun, so that a pattern that matches nothing any more is no error.

        Raises:
            ConfigError: for a pattern that matches nothing, and for `layer_decay` in a model without layers.
        """
        shared = {id(param): name for name, param in model.named_parameters()}
        own_name = {name: shared[id(param)] for name, param in model.named_parameters(remove_duplicate=False)}
        self.rule_of = {}
        for index, rule in enumerate(self.rules):
            for pattern in rule.patterns:
                names = matching(pattern, own_name) if anew else matching_some(pattern, own_name, f"{rule.place}.match")
                for name in names:
                    self.rule_of.setdefault(own_name[name], index)
        self.widths = width_multipliers(model)
        self.layers = layers_of(model) if self.layer_decay != 1 else {}
        if self.layer_decay != 1 and not self.layers and not anew:
            raise ConfigError(
                f"{self.owner}.layer_decay needs a model that repeats a block, to count its layers, and this one repeats none; "
                f"leave it out, or give learning rates by {self.owner}.groups"
            )

    def split(self, optimizer: Optimizer, params: list[tuple[str, Tensor]]) -> None:
        """Split the groups of an optimiser that has made no step, and give each part its settings.

        Args:
            optimizer: the optimiser over `params`.
            params: the parameters by name in the model.

        Raises:
            ConfigError: for a setting that the optimiser does not have for such a parameter.
        """
        names = {id(param): name for name, param in params}
        groups: list[dict[str, Any]] = []
        for group in optimizer.param_groups:
            parts: dict[tuple[tuple[str, float], ...], list[Tensor]] = {}
            for param in group["params"]:
                parts.setdefault(tuple(self.settings_of(names[id(param)], param, group).items()), []).append(param)
            for settings, tensors in parts.items():
                groups.append(self.with_settings({**group, "params": tensors}, dict(settings)))
        optimizer.param_groups[:] = groups
        self.describe(params)

    def settings_of(self, name: str, param: Tensor, group: Mapping[str, Any]) -> dict[str, float]:
        """Return the settings of one parameter that its group does not have, by the names of the plugin's settings."""
        rule = self.rules[self.rule_of[name]] if name in self.rule_of else None
        values = {} if rule is None else dict(rule.values)
        settings: dict[str, float] = {}
        width = self.widths.get(name, 1.0)
        if width != 1 and group.get("weight_decay") and "weight_decay" not in values:  # their product with the rate stays
            values["weight_decay_scale"] = values.get("weight_decay_scale", 1.0) * width
        if "lr" in values:
            settings["lr"] = values.pop("lr")
        elif (scale := values.pop("lr_scale", 1.0) * self.layer_factor(name) / width) != 1:
            settings["lr"] = group["lr"] * scale
        for typed, value in values.items():
            key = FACTORS.get(typed, typed)
            if key == "weight_decay" and self.excludes and param.dim() <= 1:
                continue
            if ("betas" if key in ("beta1", "beta2") else key) not in group:
                assert rule is not None
                raise ConfigError(f"{rule.place} sets {key}, which {self.owner} does not have for {name}; leave it out there")
            settings[key] = group[key] * value if typed in FACTORS else value
        return settings

    def with_settings(self, group: dict[str, Any], settings: Mapping[str, float]) -> dict[str, Any]:
        """Return a group of torch with settings by the names of the plugin's: `beta1` and `beta2` are its `betas`."""
        for name, value in settings.items():
            if name in ("beta1", "beta2"):
                betas = list(group["betas"])
                betas[name == "beta2"] = value
                group["betas"] = tuple(betas)
            else:
                group[name] = value
        return group

    def layer_factor(self, name: str) -> float:
        """Return the factor of `layer_decay` on the learning rate of a parameter."""
        if not self.layers:
            return 1.0
        return float(self.layer_decay ** (max(self.layers.values()) - self.layers.get(name, 0)))

    def describe(self, params: list[tuple[str, Tensor]]) -> None:
        """Keep what each rule matches in the parameters that are trained, for the plan."""
        self.counts = [(0, 0)] * (len(self.rules) + 1)
        for name, param in params:
            index = self.rule_of.get(name, len(self.rules))
            tensors, numbers = self.counts[index]
            self.counts[index] = tensors + 1, numbers + param.numel()

    def plan_notes(self, lr: float, scale: float) -> dict[str, str]:
        """Return what each rule matches and sets, in words for the plan.

        Args:
            lr: the learning rate of the optimiser, as it is written.
            scale: the factor on every rate that is written.
        """
        notes = {}
        if self.rules:
            sentences = [
                ", ".join([f"{rule.describe()}: {sized(count)}", *(shown(*item, lr, scale) for item in rule.values.items())])
                for rule, count in zip(self.rules, self.counts, strict=False)
            ]
            notes["parameter groups"] = "; ".join([*sentences, f"others: {sized(self.counts[-1])}"])
        if self.layers:
            top = max(self.layers.values())
            lowest = self.layer_decay**top
            notes["layer decay"] = (
                f"{top - 1} blocks; learning rates from {lowest:.3g} times below the first block, x {self.layer_decay:g} for each "
                "layer, to 1 times above the last"
            )
        return notes | width_note(self.widths)

    def ineffective(self) -> list[str]:
        """Return a sentence on each rule that comes too late: others before it take all that it matches."""
        late = [rule for index, rule in enumerate(self.rules) if index not in self.rule_of.values()]
        return [f"{rule.place} has no effect: rules before it take all that it matches, and the first counts" for rule in late]


def sized(count: tuple[int, int]) -> str:
    """Return a number of tensors and of the numbers in them, in words."""
    return f"{count[0]} tensor{'s' * (count[0] != 1)} of {count[1]:,} numbers"


def shown(name: str, value: float, lr: float, scale: float) -> str:
    """Return a setting of a rule in words, a learning rate as value and as factor."""
    if name == "lr":
        return f"lr {value * scale:.3g} ({value / lr:.3g} times the optimiser's)"
    return f"lr {lr * value * scale:.3g} ({value:g} times the optimiser's)" if name == "lr_scale" else f"{name} {value:g}"


def decayed(params: list[tuple[str, Tensor]], exclude: str) -> list[dict[str, Any]]:
    """Return parameter groups for torch. With `norm_and_bias`, parameters of at most one dimension get no weight decay."""
    tensors = [param for _, param in params]
    if exclude == "none":
        return [{"params": tensors}]
    small = {"params": [tensor for tensor in tensors if tensor.dim() <= 1], "weight_decay": 0.0}
    return [group for group in ({"params": [tensor for tensor in tensors if tensor.dim() > 1]}, small) if group["params"]]
