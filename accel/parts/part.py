"""Base class of all parts: typed settings, needs, set-up, state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, Self

from accel.parts.model_shape.replacement import Replacement
from accel.parts.run import Run
from accel.system.calls.call_arguments import check_arguments, signature_of_method
from accel.system.deprecation.old_attributes import MovedAttribute, moved_names, take_over_overrides
from accel.system.machine import Need
from accel.values import check_value, kinds_of

__all__ = ["Part"]


@dataclass(eq=False)
class Part:
    """Replaceable part of a run. Each kind of part is its own plainest implementation; a plugin is a subclass of one kind.

    A plugin is a dataclass. Its fields are its settings, checked here against their annotations (`accel.values`).
    All other attributes are made in `setup`.
    """

    needs: ClassVar[tuple[Need, ...]] = ()
    """Conditions without which it cannot work: an error if it is asked for by name; in a bundle it is skipped."""
    wants: ClassVar[tuple[Need, ...]] = ()
    """Conditions without which it brings nothing: in a bundle it is skipped."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if args or kwargs:  # pickle and copy make one without any
            check_arguments(cls.__name__, signature_of_method(cls.__init__), args, kwargs)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        kinds = kinds_of(type(self))
        for field in self._fields():
            setattr(self, field.name, check_value(f"{self.name}.{field.name}", getattr(self, field.name), kinds[field.name]))

    hold = MovedAttribute("to_device_scalars")
    beat = MovedAttribute("before_replay")
    idle = MovedAttribute("ineffective_settings")
    remarks = MovedAttribute("summary_notes")
    notes = MovedAttribute("plan_notes")
    uncapturable = MovedAttribute("capture_blocker")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        take_over_overrides(cls, moved_names(cls))

    @property
    def name(self) -> str:
        """Name of the plugin: its class in small letters, or its file if that differs by underscores only (`batch_lr`)."""
        short, file = type(self).__name__.lower(), type(self).__module__.rpartition(".")[2]
        return file if file.replace("_", "") == short else short

    @property
    def settings(self) -> dict[str, Any]:
        """Values of the fields by name."""
        return {field.name: getattr(self, field.name) for field in self._fields()}

    def changed(self, *names: str) -> list[str]:
        """Return those of the settings `names` that are not at their default."""
        return [name for name in names if getattr(self, name) != getattr(type(self), name)]

    @classmethod
    def _fields(cls) -> list[Field[Any]]:
        return [field for field in fields(cls) if field.init]

    def setup(self, run: Run) -> None:
        """Prepare for the run. Called once, before the first update, in the order of `Parts`: every part before is set up."""

    def replace_parameters(self, replacements: Sequence[Replacement]) -> None:
        """Carry what it keeps of tensors over to those that stand in their place. `follow_parameters` comes next.

        Args:
            replacements: of tensors that the optimiser moves: parameters, or their masters (`Precision.replaced`).
        """

    def follow_parameters(self, run: Run) -> None:
        """Follow the parameters that are trained from here on (`run.parts.precision.params`): others than in `setup`.

        Called between two updates, in the order of `Parts`, when parameters were unfrozen or replaced. What a part keeps of the
        parameters that stay, it keeps.
        """

    def plan_notes(self) -> Mapping[str, str]:
        """Return facts for the plan, by name: values computed for the user, and how they came about."""
        return {}

    def ineffective_settings(self, run: Run) -> list[str]:
        """Return a sentence on each changed setting that has no effect in this run. They become warnings."""
        return []

    def summary_notes(self) -> list[str]:
        """Return sentences for the summary at the end: what happened on the way."""
        return []

    def identity(self) -> dict[str, Any] | None:
        """Return the settings that change what is computed: a resumed run must have the same. None if it may come and go."""
        return self.settings

    def given_code(self) -> list[Any]:
        """Return classes and functions whose code decides what it computes: a resumed run is told if that of the user's changed."""
        return [type(self)]

    def rounding(self) -> float:
        """Return how far its arithmetic may take the gradient of a layer from float32, as a share of its norm (plugin parity)."""
        return 0.0

    def capture_blocker(self) -> str:
        """Return why an update with it cannot be captured in a CUDA graph, and what to do; empty if it can. Asked after `setup`.

        A replay runs the kernels of one update again, with the numbers that the host gave them at capture. No Python runs.
        Every plugin that acts inside the update must answer; the plainest parts all can be captured.
        """
        return "" if Part in type(self).__bases__ else f"{self.name} does not say that it can be (Part.capture_blocker)"

    def to_device_scalars(self) -> None:
        """Move per-update scalars to the device, once, before updates are captured in a CUDA graph."""

    def before_replay(self) -> None:
        """Refresh the scalars on the device, without waiting. Called before each update, after `to_device_scalars`."""

    def check_metrics(self, metrics: Mapping[str, float]) -> None:
        """See which metrics an evaluation gives. Called before the first update, after a trial of the evaluation.

        Raises:
            ConfigError: if the one that a setting names is not among them.
        """

    def evaluated(self, epoch: float, metrics: dict[str, float]) -> None:
        """See the metrics of an evaluation, which ends `epoch`, from 1, or an update within it.

        A part sees the evaluations in their turn (`evaluate.every`, `evaluate.epochs`), and none that is made only because the run
        ends: a run that goes on from there has seen what a longer one has. Every rank sees the same numbers.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned. Called after `setup`, and again after a trial (`Probe`).

        All other parts load theirs as well: anything made of their tensors, such as a captured graph, must be made again.
        """
