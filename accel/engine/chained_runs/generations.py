"""Generations of one model: several trainings, each taught by the one before (born-again networks).

The last of them is the run that was asked for, in its own directory. Those before it are runs of their own in `generations/0`,
`generations/1` and so on of that directory; generation 0 has no teacher. Each has its own checkpoints, so a run that was stopped
anywhere goes on with `resume=auto out=DIR`: what is finished is not trained again. Generation g of n is given the seed + n - g, so
that no two begin with the same weights.

Source: Furlanello et al., Born-Again Neural Networks, arXiv 1805.04770.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from accel.checkpoints.retention import FOLDER, names
from accel.checkpoints.weights.find_weights import WEIGHTS
from accel.engine.finish import SUMMARY
from accel.engine.select_parts import make_plugin
from accel.errors import ConfigError, Interrupted, RunDirectoryTaken
from accel.parts import Parallel, Part
from accel.report.result import Result
from accel.schema.settings import Settings
from accel.system.shell_quoting import override

__all__ = ["GENERATIONS", "SELF", "Generations"]

GENERATIONS = "generations"
"""Folder of the runs before the last one, in its directory."""
SELF = "self"
"""Teacher that the run trains itself."""


@dataclass
class Generations:
    """The trainings of a run whose teacher is the run before.

    Args:
        trainer: the Trainer.
        plugins: its plugins.
        plugin: the one of them with the settings `teacher` and `generations`.
    """

    trainer: Any
    plugins: list[Part]
    plugin: Any

    @classmethod
    def of(cls, trainer: Any) -> Generations | None:
        """Return the generations that a Trainer asks for; None for an ordinary run.

        Raises:
            ConfigError: for several processes, which make one run.
        """
        plugins = _plugins(trainer.plugins)
        given = [plugin for plugin in plugins if getattr(plugin, "teacher", None) == SELF]
        if not given:
            return None
        if any(isinstance(plugin, Parallel) and plugin.world_size > 1 for plugin in plugins):
            raise ConfigError(
                "distill.teacher=self trains one run after another, and several processes make one; train the teacher in a run "
                "of its own, and name its directory"
            )
        return cls(trainer, plugins, given[0])

    def fit(self) -> Result:
        """Train all that is left to train, and return the result of the last."""
        if self.out is not None and self.settings.resume is None:
            self.check_directory(self.out)
        teacher: Any = None
        for generation in range(self.plugin.generations):
            teacher = self.train_before(generation, teacher)
        settings = self.settings
        if self.out is not None and settings.resume is not None and not names(self.out / FOLDER):
            settings = replace(settings, resume=None, out=str(self.out), allow=[])  # it has not begun
        result: Result = self.member(settings, teacher).fit()
        return result

    @property
    def settings(self) -> Settings:
        """The settings of the last run."""
        settings: Settings = self.trainer.settings
        return settings

    @property
    def out(self) -> Path | None:
        """The directory of the last run; None if nothing is written."""
        settings = self.settings
        if settings.dry_run:
            return None
        if settings.out is not None or settings.resume in (None, "auto"):
            return None if settings.out is None else Path(settings.out)
        resumed = Path(settings.resume)
        return resumed.parent.parent if resumed.suffix == ".pt" else resumed

    def check_directory(self, out: Path) -> None:
        """Raise RunDirectoryTaken if generations of another run are in a directory."""
        if any(names(one / FOLDER) for one in (out / GENERATIONS).glob("*")):
            raise RunDirectoryTaken(
                f"out={out} holds generations of a run already; go on with them by resume=auto {override('out', out)}, or name "
                "another directory"
            )

    def train_before(self, generation: int, teacher: Any) -> Any:
        """Train a generation before the last, unless it is finished, and return it as a teacher: its directory or its model.

        Args:
            generation: its number, from 0.
            teacher: the generation before it; None for the first.

        Raises:
            Interrupted: with the directory of the last run, if it was stopped.
        """
        seed = self.settings.seed + self.plugin.generations - generation
        if self.out is None:
            settings = replace(self.settings, seed=seed, resume=None, out=None)
            return copy.deepcopy(self.member(settings, teacher).fit().model)
        out = self.out / GENERATIONS / str(generation)
        resumes = self.settings.resume is not None
        if not (resumes and (out / SUMMARY).is_file() and (out / WEIGHTS).is_file()):
            goes_on = resumes and bool(names(out / FOLDER))
            settings = replace(self.settings, seed=seed, out=str(out), resume="auto" if goes_on else None)
            settings = settings if goes_on else replace(settings, allow=[])
            member = self.member(settings, teacher)
            member.command = ""  # the one that goes on from here names the directory of the last run
            try:
                member.fit()
            except Interrupted as stop:
                raise Interrupted(stop.signal, stop.update, str(self.out), stop.unsaved) from None
        return str(out)

    def member(self, settings: Settings, teacher: Any) -> Any:
        """Return a Trainer of one generation: this one with other settings, and plugins of its own.

        Args:
            settings: of its run.
            teacher: the generation before it; None for the first, which learns from the data alone.
        """
        member = copy.copy(self.trainer)
        member.settings, member.plugins = settings, list(self.plugins_with(teacher))
        given = self.trainer.given.get("model")
        if isinstance(given, nn.Module):  # which begins where the user left it, in every generation
            member.given = {**self.trainer.given, "model": copy.deepcopy(given)}
        return member

    def plugins_with(self, teacher: Any) -> Iterator[Part]:
        """Yield fresh plugins, with the teacher in its place; without a teacher, all but the one that asks for it."""
        for plugin in self.plugins:
            if plugin is not self.plugin:
                yield _fresh(plugin)
            elif teacher is not None:
                yield _fresh(plugin, teacher=teacher, generations=1)


def _plugins(given: Any) -> list[Part]:
    """Return the plugins of a Trainer as instances; none if one of them is no plugin, which the run itself refuses."""
    if not isinstance(given, list | tuple) or not all(isinstance(plugin, Part | str) for plugin in given):
        return []
    try:
        return [make_plugin(plugin) for plugin in given]
    except ConfigError:
        return []


def _fresh(plugin: Part, **changes: Any) -> Part:
    """Return a plugin of the same settings, but for some."""
    if not any(field.init for field in fields(plugin)):
        return type(plugin)()
    fresh: Part = replace(plugin, **changes)
    return fresh
