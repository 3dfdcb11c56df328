"""Frozen parameters: those that the setting `freeze` names are not trained, or not before an update that it names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from accel.checkpoints.weights.weight_names import plain_path
from accel.errors import ConfigError, listed
from accel.parts import Run
from accel.parts.shared.batch_norms import keeps_statistics
from accel.parts.shared.groups.parameter_groups import sized
from accel.parts.shared.name_patterns import matching_some
from accel.parts.shared.trained_parameters import follow_parameters
from accel.schema.freeze_rules import FreezeRule

__all__ = ["Freezing", "running_norms"]


class Freezing:
    """The parameters that a run freezes, and the updates in which it thaws them.

    A parameter that needs no gradient when the run is built is the user's own matter. All that are frozen here need gradients
    again when the run has ended.

    Args:
        rules: the rules of the setting `freeze`; the first that matches a parameter counts.
    """

    def __init__(self, rules: Iterable[FreezeRule] = ()) -> None:
        self.rules = list(rules)
        self.trainable: list[str] = []
        """Names of the parameters that the user's model trains."""
        self.frozen: dict[str, FreezeRule] = {}
        """The rule that has frozen a parameter, by its name."""
        self.updates: dict[str, int | None] = {}
        """The last update in which a rule freezes, from 1, by the rule's place; None for the whole run."""
        self.norms: dict[nn.Module, list[str]] = {}
        """Modules with running statistics that are frozen with parameters, and the names of these."""

    def begin(self, model: nn.Module) -> None:
        """Freeze the parameters of a model, before any part is set up.

        Raises:
            ConfigError: for a pattern that matches nothing, or no parameter that is trained, and if none is left to train.
        """
        params = {id(param): name for name, param in model.named_parameters()}
        names = {plain_path(model, name): params[id(param)] for name, param in model.named_parameters(remove_duplicate=False)}
        self.trainable = [name for name, param in model.named_parameters() if param.requires_grad]
        trainable = set(self.trainable)
        for rule in self.rules:
            for pattern in rule.patterns:
                matches = [names[name] for name in matching_some(pattern, names, f"{rule.place}.match")]
                if not trainable & set(matches):
                    raise ConfigError(f"{rule.place}: {pattern!r} matches {listed(matches)}, which the model does not train anyway")
                for name in matches:
                    if name in trainable:
                        self.frozen.setdefault(name, rule)
            if rule not in self.frozen.values():
                raise ConfigError(f"{rule.place} has no effect: rules before it take all that it matches, and the first counts")
        if self.rules and len(self.frozen) == len(self.trainable):
            raise ConfigError("freeze leaves no parameter to train in the first update; leave out those that are to learn")
        for name in self.frozen:
            model.get_parameter(name).requires_grad_(False)

    def schedule(self, run: Run) -> dict[str, str]:
        """Count the updates of each rule, once the run is set up. Return what the plan says.

        Raises:
            ConfigError: for an update that is not in the run.
        """
        if not self.rules:
            return {}
        run.parts.precision.trained_at_start = self.trainable
        self.updates = {rule.place: rule.update(run.updates) for rule in self.rules}
        self.follow(run)
        params = dict(run.unwrapped_model.named_parameters())
        sentences = []
        for rule in self.rules:
            counts = [params[name].numel() for name, first in self.frozen.items() if first is rule]
            last = self.updates[rule.place]
            span = "" if last is None else f" until update {last:,}"
            sentences.append(f"{' and '.join(rule.patterns)}: {sized((len(counts), sum(counts)))}{span}")
        still = f"; the statistics of {len(self.norms)} norms stand still with them" if self.norms else ""
        return {"frozen": "; ".join(sentences) + still}

    @property
    def identity(self) -> list[dict[str, Any]]:
        """What a resumed run must have in common with this one, as plain values."""
        return [{"match": rule.patterns, "until": self.updates[rule.place]} for rule in self.rules]

    def is_frozen(self, name: str, step: int) -> bool:
        """Return whether a parameter is frozen in update `step`, from 0."""
        rule = self.frozen.get(name)
        last = None if rule is None else self.updates[rule.place]
        return rule is not None and (last is None or step < last)

    def follow(self, run: Run) -> None:
        """Find the norms that the model has now, and that stand still with their parameters."""
        self.norms.clear()
        for module, names in running_norms(run.unwrapped_model).items() if self.rules else ():
            own = [name for name in names if name in self.trainable]  # what the user has frozen besides does not move either
            if own and self.frozen.keys() >= set(own):
                self.norms[module] = own

    def hold_norms(self, step: int) -> None:
        """Put norms into evaluation mode whose parameters are frozen in update `step`, from 0."""
        for module, names in self.norms.items():
            if all(self.is_frozen(name, step) for name in names):
                module.eval()

    def thaw(self, run: Run) -> None:
        """Train from the next update on what was frozen until the last one. Every rank must call it."""
        due = {rule.place for rule in self.rules if self.updates[rule.place] == run.progress.step}
        if not due:
            return
        params = dict(run.unwrapped_model.named_parameters())
        thawed = [params[name] for name, rule in self.frozen.items() if rule.place in due and name in params]
        if all(param.requires_grad for param in thawed):
            return  # a checkpoint had them so
        for param in thawed:
            param.requires_grad_(True)
        follow_parameters(run, planned=True)
        run.train_mode()

    def go_on(self, run: Run, identity: dict[str, Any]) -> None:
        """Freeze what this run freezes, if the run that is resumed froze something else. Every rank must call it.

        Args:
            run: the run, its state loaded.
            identity: what the run that is resumed computed.
        """
        if identity.get("freeze", []) == self.identity:
            return
        params = dict(run.unwrapped_model.named_parameters())
        for name in self.trainable:
            params[name].requires_grad_(not self.is_frozen(name, run.progress.step))
        follow_parameters(run, planned=True, anyway=True)

    def release(self, model: nn.Module) -> None:
        """Let what was frozen here need gradients again."""
        params = dict(model.named_parameters())
        for name in self.frozen.keys() & params.keys():
            params[name].requires_grad_(True)


def running_norms(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Return the modules that keep running statistics, each with the names of its parameters in the model.

    One that has no parameters goes with those of the module around it.
    """
    owners = dict[str, list[str]]()
    for name, _ in model.named_parameters():
        for end in [place for place, letter in enumerate(name) if letter == "."]:
            owners.setdefault(name[:end], []).append(name)
    norms = {}
    for path, module in model.named_modules():
        if keeps_statistics(module):
            around = path
            while around and around not in owners:
                around = around.rpartition(".")[0]
            norms[module] = owners.get(around, [])
    return {module: names for module, names in norms.items() if names}
