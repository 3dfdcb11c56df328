"""What every part has: typed settings, what it needs, a set-up, a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

from accel.system.machine import Need
from accel.values import check_value

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["Part"]


@dataclass(eq=False)
class Part:
    """One replaceable part of a run. Each kind of part is its own plainest implementation; a plugin is a subclass of one kind.

    A plugin is a dataclass: its fields are its settings, checked here against their annotations (`accel.values`).
    Everything else it keeps is made in `setup`.
    """

    needs: ClassVar[tuple[Need, ...]] = ()
    """What it cannot work without: asked for by name it is an error, in a bundle it is skipped."""
    wants: ClassVar[tuple[Need, ...]] = ()
    """What it brings nothing without: in a bundle it is skipped."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in self._fields():
            setattr(self, field.name, check_value(f"{self.name}.{field.name}", getattr(self, field.name), hints[field.name]))

    @property
    def name(self) -> str:
        """The plugin's name: its file's, where that is its class's in small letters (`batch_lr`, BatchLR), else its class's."""
        short, file = type(self).__name__.lower(), type(self).__module__.rpartition(".")[2]
        return file if file.replace("_", "") == short else short

    @property
    def settings(self) -> dict[str, Any]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in self._fields()}

    def changed(self, *names: str) -> list[str]:
        """Those of the settings `names` that are not at their default."""
        return [name for name in names if getattr(self, name) != getattr(type(self), name)]

    @classmethod
    def _fields(cls) -> list[Field[Any]]:
        return [field for field in fields(cls) if field.init]

    def setup(self, run: Run) -> None:
        """Called once, in the order of the sentence, before the first update. May read everything set up before it."""

    def plan_notes(self) -> Mapping[str, str]:
        """For the plan: what was computed for the user, and how it came about."""
        return {}

    def ineffective_settings(self, run: Run) -> list[str]:
        """Settings that were changed and have no effect in this run, a sentence each; they become warnings."""
        return []

    def summary_notes(self) -> list[str]:
        """For the summary, at the end: what it met with on the way, a sentence each."""
        return []

    def identity(self) -> dict[str, Any] | None:
        """By which settings it changes what is computed: a resumed run must have the same. None where it may come and go."""
        return self.settings

    def capture_blocker(self) -> str:
        """Why an update with it cannot be replayed from a CUDA graph, and what to do; empty where it can. Asked after `setup`.

        A replay runs the kernels of one update again, with the numbers that the host gave them then; no Python runs. Whoever
        acts inside the update answers for itself; the parts themselves, which are the plainest, all can.
        """
        return "" if Part in type(self).__bases__ else f"{self.name} does not say that it can be (Part.capture_blocker)"

    def to_device_scalars(self) -> None:
        """Called once, by who replays updates: numbers that the host changes from update to update go to the device."""

    def before_replay(self) -> None:
        """Called before each update, after `hold`: brings the numbers held on the device up to date, without waiting."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must find again: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave. Called after `setup`, and again after a trial (`Probe`), when other parts have taken theirs
        anew as well: what was made of their tensors, such as a captured graph, is to be made again."""
