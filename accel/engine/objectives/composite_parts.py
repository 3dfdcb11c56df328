"""The parts of several objectives, as the rest of the run sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from accel.engine.objectives.composite import Composite
from accel.engine.objectives.minimize import METHOD
from accel.errors import ConfigError
from accel.parts import Clip, Guard, Objective, Optim, Precision, Replacement, Run

__all__ = ["CompositeClip", "CompositeGuard", "CompositeObjective", "CompositeOptim", "CompositePrecision"]


class CompositePrecision(Composite, Precision):
    """Precisions of several objectives: one kind of arithmetic, and a loss scale for each."""

    kind = "precision"

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.names_at_start: list[str] = []
        """The same, where the setting `freeze` says what they are."""
        free = [name for name, param in run.unwrapped_model.named_parameters() if param.requires_grad]
        for name, member in self.members.items():
            if not any(map(member.may_train, free)):
                raise ConfigError(f"{METHOD}: {name} has no parameter to train: all that it is given are frozen")
        self.skipped = None  # each counts its own, and the guards add them up

    @property
    def params(self) -> list[tuple[str, Tensor]]:  # type: ignore[override]
        """Tensors that the optimisers move, by name, those of the first objective first."""
        return [each for member in self.members.values() for each in member.params]

    @property
    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """The model's parameters that are trained now, or were before, by name."""
        return [each for member in self.members.values() for each in member.trained]

    @trained.setter
    def trained(self, kept: list[tuple[str, nn.Parameter]]) -> None:
        names = {name for name, _ in kept}
        for member in self.members.values():
            member.trained = [(name, param) for name, param in member.trained if name in names]

    @property
    def known(self) -> list[tuple[str, nn.Parameter]]:  # type: ignore[override]
        """All parameters that the model has now, by name."""
        known: list[tuple[str, nn.Parameter]] = self.first.known
        return known

    @property
    def trained_at_start(self) -> list[str]:
        """Names of the parameters that were trained when the run began."""
        return self.names_at_start or [name for member in self.members.values() for name in member.trained_at_start]

    @trained_at_start.setter
    def trained_at_start(self, names: list[str]) -> None:
        self.names_at_start = names

    @property
    def is_narrow(self) -> bool:
        """Whether gradients pass through float16, which overflows above 65,504."""
        return any(member.is_narrow for member in self.members.values())

    def keep_trained(self, names: set[str]) -> None:
        for member in self.members.values():
            member.keep_trained(names)

    def replaced(self, replacements: Sequence[Replacement]) -> Sequence[Replacement]:
        for member in self.members.values():
            moved = member.replaced(replacements)
            own = {id(replacement.old): replacement for replacement in moved}
            replacements = [own.get(id(replacement.old), replacement) for replacement in replacements]
        return replacements

    def may_train(self, name: str) -> bool:
        return any(member.may_train(name) for member in self.members.values())

    def cast(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = self.first.cast()
        return context

    def publish(self) -> None:
        for member in self.members.values():
            member.publish()

    def unrounded(self, value: Tensor) -> Tensor:
        for member in self.members.values():
            if (master := member.unrounded(value)) is not value:
                return master  # type: ignore[no-any-return]
        return value

    def release(self) -> None:
        for member in self.members.values():
            member.release()


class CompositeOptim(Composite, Optim):
    """Optimisers of several objectives. A schedule sets the rate of the first, and the others keep their ratio to it."""

    kind = "optim"

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.later = []
        self.lr, self.scale, self.parameter_groups = self.first.lr, self.first.scale, self.first.parameter_groups
        self.lr_ratios = [member.lr * member.scale / (self.lr * self.scale) for member in self.members.values()]
        """Rate of each optimiser, as a multiple of that of the first."""

    @property
    def optimizer(self) -> Any:  # type: ignore[override]
        """The groups of all optimisers, and the defaults of the first."""
        groups = [group for member in self.members.values() for group in member.optimizer.param_groups]
        return SimpleNamespace(param_groups=groups, defaults=self.first.optimizer.defaults)

    @property
    def fused(self) -> bool:  # type: ignore[override]
        """Whether all optimisers are fused."""
        return all(member.fused for member in self.members.values())

    @property
    def rates(self) -> list[float]:  # type: ignore[override]
        """Learning rate of each group, in the order of the groups."""
        return [rate for member in self.members.values() for rate in member.rates]

    @property
    def ratios(self) -> list[float]:  # type: ignore[override]
        """The same as multiples of the rate of the first optimiser."""
        pairs = zip(self.members.values(), self.lr_ratios, strict=True)
        return [ratio * lr_ratio for member, lr_ratio in pairs for ratio in member.ratios]

    def changed(self, *names: str) -> list[str]:
        return []  # the rate of the first counts where a schedule sets it, too: the others are multiples of it

    def set_lr(self, lr: float) -> None:
        for member, ratio in zip(self.members.values(), self.lr_ratios, strict=True):
            member.set_lr(lr * ratio)

    def set_rates(self, lr: float, rates: list[float]) -> None:
        remaining = iter(rates)
        for member, ratio in zip(self.members.values(), self.lr_ratios, strict=True):
            member.set_rates(lr * ratio, list(islice(remaining, len(member.rates))))

    @property
    def has_momentum(self) -> bool:
        """Whether every group of every optimiser keeps a moving average of the gradient."""
        return all(member.has_momentum for member in self.members.values())

    def set_momentum(self, momentum: float) -> None:
        for member in self.members.values():
            member.set_momentum(momentum)

    def cycle_momentum(self) -> None:
        for member in self.members.values():
            member.cycle_momentum()

    @contextmanager
    def weights(self) -> Iterator[None]:
        with ExitStack() as contexts:
            for member in self.members.values():
                contexts.enter_context(member.weights())
            yield

    def plan_notes(self) -> Mapping[str, str]:
        facts = super().plan_notes()  # each optimiser stands in the row of its objective
        return {label: text for label, text in facts.items() if label.partition(",")[0] != "optimizer"}

    def summary_notes(self) -> list[str]:
        return [*self.later, *super().summary_notes()]


class CompositeClip(Composite, Clip):
    """Clippings of several objectives."""

    kind = "clip"


class CompositeGuard(Composite, Guard):
    """Guards of several objectives. `skipped` counts the steps that any of them has skipped."""

    kind = "guard"

    def setup(self, run: Run) -> None:
        super().setup(run)
        self.counters: list[Tensor] = [member.skipped for member in self.members.values() if member.skipped is not None]
        self.skipped = torch.zeros((), dtype=torch.float32, device=run.device) if self.counters else None

    def count(self) -> None:
        """Add up the skipped steps of all objectives, on the device."""
        if self.skipped is not None:
            torch.sum(torch.stack(self.counters), 0, out=self.skipped)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.count()


class CompositeObjective(Composite, Objective):
    """Losses of several objectives."""

    kind = "objective"
