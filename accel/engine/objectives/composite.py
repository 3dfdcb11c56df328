"""Base of the parts that stand for one part of each objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from accel.parts import Part, Replacement, Run

__all__ = ["Composite"]


class Composite(Part):
    """One kind of part of several objectives, in the place of a single part of a run.

    Args:
        views: the run as the parts of each objective see it, by the objective's name, in the order in which they move.
    """

    kind: ClassVar[str]
    """Name of the field in `Parts`."""

    def __init__(self, views: Mapping[str, Run]) -> None:
        self.views = views
        self.members: dict[str, Any] = {name: getattr(view.parts, self.kind) for name, view in views.items()}
        """The part of each objective, by its name."""

    @property
    def name(self) -> str:
        """Key of its state in checkpoints."""
        return self.kind

    @property
    def first(self) -> Any:
        """The part of the first objective."""
        return next(iter(self.members.values()))

    def setup(self, run: Run) -> None:
        for name, member in self.members.items():
            member.setup(self.views[name])

    def replace_parameters(self, replacements: Sequence[Replacement]) -> None:
        for member in self.members.values():
            member.replace_parameters(replacements)

    def follow_parameters(self, run: Run) -> None:
        for name, member in self.members.items():
            member.follow_parameters(self.views[name])

    def plan_notes(self) -> Mapping[str, str]:
        notes = {name: member.plan_notes() for name, member in self.members.items()}
        labels = dict.fromkeys(label for each in notes.values() for label in each)
        facts: dict[str, str] = {}
        for label in labels:
            texts = {name: each[label] for name, each in notes.items() if label in each}
            is_common = len(texts) == len(notes) and len(set(texts.values())) == 1
            facts |= {label: next(iter(texts.values()))} if is_common else {f"{label}, {name}": texts[name] for name in texts}
        return facts

    def ineffective_settings(self, run: Run) -> list[str]:
        sentences = [text for name, member in self.members.items() for text in member.ineffective_settings(self.views[name])]
        return list(dict.fromkeys(sentences))

    def summary_notes(self) -> list[str]:
        notes = [(name, text) for name, member in self.members.items() for text in member.summary_notes()]
        texts = [text for _, text in notes]
        return list(dict.fromkeys(text if texts.count(text) > 1 else f"{name}: {text}" for name, text in notes))

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        for member in self.members.values():
            member.evaluated(epoch, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {name: member.state_dict() for name, member in self.members.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, member in self.members.items():
            member.load_state_dict(state[name])
