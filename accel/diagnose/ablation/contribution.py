"""What an ablation has found, as values: of each plugin, and of all together."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accel.compare import NEGLIGIBLE, LossDifference, SpeedRatio, Verdict, decide
from accel.report.result import finite

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SAVED", "SCHEMA", "Ablation", "Contribution"]

SCHEMA = 1
SAVED = 0.1
"""Share of the memory that a plugin must save for a loss of speed to be its price, and no harm."""


@dataclass(frozen=True)
class Contribution:
    """What a plugin, or several that belong together, bring to the run.

    Args:
        plugins: their names.
        judged_by: `speed`, at the same updates; or `loss`, after equal time, if they change what is learnt from the same data.
        speed: of the run with all plugins over that without these; None if it cannot be without them.
        alone: speed with these plugins alone over that with none; None if they cannot be alone.
        loss: with all plugins less that without these; None if it was not measured.
        memory: bytes of tensors with all plugins less those without these; None if it was not measured.
        memory_share: the same as a share of the bytes without them.
        negligible: share of the speed by which equal runs may differ.
        refusal: why something could not be measured, in a sentence; empty if all was.
    """

    plugins: tuple[str, ...]
    judged_by: Literal["speed", "loss"]
    speed: SpeedRatio | None = None
    alone: SpeedRatio | None = None
    loss: LossDifference | None = None
    memory: int | None = None
    memory_share: float = 0.0
    negligible: float = NEGLIGIBLE
    refusal: str = ""

    @property
    def name(self) -> str:
        """The names in one text."""
        return "+".join(self.plugins)

    @property
    def saves_memory(self) -> bool:
        """Whether the run takes less memory with them."""
        return self.memory_share < -SAVED

    @property
    def verdict(self) -> Verdict | None:
        """The verdict; None if neither speed nor loss was measured."""
        speed = (self.speed or self.alone) if self.judged_by == "speed" else None
        if speed is None and self.loss is None:
            return None
        verdict = decide(speed, self.loss, self.negligible)
        worse = self.loss is not None and self.loss.is_worse
        return "neutral" if verdict == "harmful" and self.saves_memory and not worse else verdict


@dataclass(frozen=True)
class Ablation:
    """What each plugin of a run brings, and which of them to keep. It draws itself in a terminal and in a notebook.

    Args:
        contributions: one for each plugin, or for several that belong together.
        together: speed with all plugins over that with none; None if the run cannot be without any.
        kept: the names of the plugins to keep.
        kept_speed: speed with the kept plugins alone over that with all; None if all are kept, or it was not measured.
        command: the line that starts the run with the kept ones; empty in a script.
        updates: updates after which losses were compared; 0 if they were not.
        seeds: runs of each way whose losses were compared.
        memory: bytes that tensors take in an update with all plugins; None if it was not measured.
        machine: facts about the machine, in words, by name.
        busy: percent of the cores that other processes took meanwhile; None if it is not known.
        seconds: that all of it took.
        changing: the names of plugins that change the model between updates: only what they do before the first is measured.
    """

    contributions: tuple[Contribution, ...]
    together: SpeedRatio | None = None
    kept: tuple[str, ...] = ()
    kept_speed: SpeedRatio | None = None
    command: str = ""
    updates: int = 0
    seeds: int = 0
    memory: int | None = None
    machine: dict[str, str] = field(default_factory=dict)
    busy: float | None = None
    seconds: float = 0.0
    changing: tuple[str, ...] = ()

    @cached_property
    def all_plugins(self) -> tuple[str, ...]:
        """The names of the plugins that were tried."""
        return tuple(name for one in self.contributions for name in one.plugins)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The names of the plugins that are not to be kept."""
        return tuple(name for name in self.all_plugins if name not in self.kept)

    def with_command(self, command: str) -> Ablation:
        """Return the same with the line to type."""
        return replace(self, command=command)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the JSON document, plain values; what is not finite becomes None."""
        content = {"schema": SCHEMA, "kind": "ablation", **asdict(self), "left_out": list(self.left_out)}
        for one, values in zip(self.contributions, content["contributions"], strict=True):
            values |= {"verdict": one.verdict, "saves_memory": one.saves_memory}
            if one.loss is not None:
                values["loss"]["is_beyond_noise"] = one.loss.is_beyond_noise
        content["contributions"] = list(content["contributions"])
        plain: dict[str, Any] = finite(content)
        return plain

    def draw(self, picture: str | Path) -> None:
        """Draw the speeds with their bounds into an SVG file. Raise OSError if the disk does not take it."""
        from accel.diagnose.ablation.ablation_plot import draw

        draw(self, Path(picture))

    def __rich__(self) -> RenderableType:
        from accel.diagnose.ablation.ablation_table import lines

        return lines(self)

    def _repr_html_(self) -> str:
        from accel.diagnose.ablation.ablation_plot import svg_text
        from accel.diagnose.ablation.ablation_table import html

        return html(self) + svg_text(self)

    def __repr__(self) -> str:
        from accel.report.visible_console import text_block

        return text_block(lambda console: console.print(self), 110)
