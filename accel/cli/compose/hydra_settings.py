"""Hydra's own settings of a command, typed or in config files: read together, as Hydra composes them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from accel.cli.compose import overrides
from accel.cli.compose.explain import explain
from accel.cli.compose.hydra_choices import require_choices
from accel.cli.compose.hydra_session import ConfigFile, Session
from accel.cli.compose.hydra_words import (
    COSMETIC,
    SEARCHPATH,
    dotted,
    key_of,
    refusal,
    require_directories,
    require_known,
    split_words,
)
from accel.errors import ConfigError
from accel.system.call_stack import warn_user

__all__ = ["HydraSettings", "read_hydra_settings"]

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
CHOICES = ("hydra/job_logging", "hydra/hydra_logging", "hydra/help", "hydra/hydra_help", "hydra/env", "hydra/callbacks")
"""Groups whose choice has no effect here."""


class HydraSettings:
    """Hydra's own settings of a command.

    Args:
        opened: finds config files.
        typed: overrides of Hydra's settings.
        jobs: all other overrides, also those with several values, which stand for none here.
        multirun: whether `--multirun` was typed.

    Raises:
        ConfigError: for a setting that has no effect here, or cannot be composed. All methods raise it.
    """

    def __init__(self, opened: Session, typed: Sequence[str], jobs: Sequence[str], multirun: bool) -> None:
        self.opened, self.typed = opened, list(typed)
        require_known(typed)
        single = [word for word, parsed in zip(jobs, overrides.parse(opened, jobs), strict=True) if not parsed.is_sweep_override()]
        self.words = overrides.normalise(opened, single).for_hydra
        mode = next((word.partition("=")[2].upper() for word in reversed(typed) if word.lstrip("+").startswith("hydra.mode=")), "")
        self.multirun = multirun or mode == "MULTIRUN"
        """Whether there are several runs."""
        if self.is_used:
            self.multirun = self.multirun or (not mode and str(self.composed.hydra.mode).endswith("MULTIRUN"))
            require_directories(typed, self.multirun)
            self.require_effects()
            self.log(self.composed.hydra.verbose)

    @property
    def is_used(self) -> bool:
        """Whether anyone can have set one: nobody can where all config files are accel's."""
        return bool(self.typed) or self.opened.has_own_files or any(SEARCHPATH in word for word in self.words)

    @cached_property
    def composed(self) -> Any:
        """The composed config with Hydra's node, of what all jobs have in common."""
        words = [*self.typed, *self.words]
        return explain(self.opened, words, self.opened.compose_multirun)

    @cached_property
    def of_files(self) -> dict[str, tuple[ConfigFile, Any]]:
        """The settings that config files of the user's have, with the last file that has each."""
        settings: dict[str, tuple[ConfigFile, Any]] = {}
        self.composed  # noqa: B018  # the loader remembers its files
        for file in self.opened.own_files():
            content, keys = self.opened.read_file(file.path), file.package.split(".") if file.package else []
            if keys[:1] == ["hydra"]:
                values = dotted(content, file.package)
            else:
                node = content.get("hydra") if not keys else None
                values = dotted(node) if isinstance(node, dict) else {}
            settings |= {key: (file, value) for key, value in values.items()}
        return settings

    def require_effects(self) -> None:
        """Refuse what config files set without an effect, or warn of it where the run is the same without it."""
        warned: dict[str, str] = {}
        for key, (file, value) in self.of_files.items():
            if (reason := refusal(key, value)) == "":
                continue
            owner = next((name for name in COSMETIC if key == name or key.startswith(f"{name}.")), "")
            if not owner:
                raise ConfigError(f"{self.opened.file_path(file.path)}: {key} has no effect: {reason}")
            warned[owner] = f"{self.opened.file_path(file.path)}: {owner} has no effect: {reason}"
        choices = self.composed.hydra.runtime.choices
        for group in CHOICES:
            key, chosen = group.replace("/", "."), choices.get(group)
            if chosen not in (None, "default") and key not in warned:
                if key not in COSMETIC:
                    raise ConfigError(f"{group}={chosen} has no effect: {refusal(key, chosen)}")
                warned[key] = f"{group}={chosen} has no effect: {refusal(key, chosen)}"
        for sentence in warned.values():
            warn_user(sentence)

    @cached_property
    def has_sweeper(self) -> bool:
        """Whether a sweeper proposes the runs. One that a config file chooses is that of a multirun alone, as for Hydra."""
        if not self.is_used:
            return False
        typed = next((word for word in self.typed if key_of(word).startswith("hydra.sweeper")), "")
        if self.composed.hydra.sweeper.get("_target_") == BASIC_SWEEPER:  # which is what --multirun alone is here too
            if typed and "/" not in typed.partition("=")[0]:
                raise ConfigError(f"{typed} has no effect without hydra/sweeper=optuna")
            return False
        if typed and not self.multirun:
            raise ConfigError("a sweeper proposes several runs: add --multirun")
        return self.multirun

    def sets(self, key: str) -> bool:
        """Return whether anyone but Hydra has set a key."""
        return any(word.lstrip("+").partition("=")[0] == key for word in self.typed) or key in self.of_files

    def directory(self, job_overrides: Sequence[str]) -> list[str]:
        """Return `out=DIR` for `hydra.run.dir`, or for `hydra.sweep.dir` of a multirun; nothing if nobody has set it.

        A config's `out` goes before the directory that a config names for Hydra.

        Args:
            job_overrides: those of the jobs.
        """
        key = "hydra.sweep.dir" if self.multirun else "hydra.run.dir"
        if not self.is_used or not self.sets(key):
            return []
        typed = next((word for word in reversed(self.typed) if word.lstrip("+").startswith(f"{key}=")), "")
        own = next((word for word in job_overrides if word.lstrip("+").startswith("out=")), "")
        if typed and own:
            raise ConfigError(f"{typed} and {own} name two directories; leave one of them out")
        if not typed and (own or self.composed.get("out") is not None):
            return []
        return [f"out={self.resolved(key)}"]

    def resolved(self, key: str, composed: Any = None) -> str:
        """Return the text of a key with its interpolations filled in, in another composed config if there is one."""
        config = self.composed if composed is None else composed
        self.opened.expose(config)
        try:
            value = OmegaConf.select(config, key, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{self.label(key)}: {str(error).partition(chr(10))[0]}") from None
        if not isinstance(value, str | int) or not str(value).strip():
            raise ConfigError(f"{self.label(key)} must be a path, not {value!r}")
        return str(value)

    def label(self, key: str) -> str:
        """Return the override that set a key, or the file with the key."""
        typed = next((word for word in reversed(self.typed) if word.lstrip("+").startswith(f"{key}=")), "")
        return typed or (f"{self.opened.file_path(self.of_files[key][0].path)}: {key}" if key in self.of_files else key)

    def folders(self, jobs: Sequence[Sequence[str]]) -> list[str]:
        """Return the folder of each job of a multirun. Raise ConfigError if two jobs have the same."""
        numbers: dict[str, int] = {}
        for number, words in enumerate(jobs):
            other = numbers.setdefault(folder := self.folder(number, words), number)
            if other != number:
                raise ConfigError(
                    f"{self.label('hydra.sweep.subdir')}: jobs {other + 1} and {number + 1} would write to {folder}; let it have "
                    "${hydra.job.num} or ${hydra.job.override_dirname}"
                )
        return list(numbers)

    def folder(self, number: int, words: Sequence[str]) -> str:
        """Return the folder of one job in the directory of a multirun: `hydra.sweep.subdir`, as Hydra composes it for that job.

        Args:
            number: of the job, from 0.
            words: its overrides.
        """
        if not self.is_used or not self.sets("hydra.sweep.subdir"):
            return str(number)
        composed = self.opened.compose_multirun([*self.typed, *overrides.normalise(self.opened, words).for_hydra])
        job = composed.hydra.job
        with open_dict(composed):
            job.num, job.id = number, str(number)
            job.override_dirname = self.override_dirname(words, job.config.override_dirname)
        return self.resolved("hydra.sweep.subdir", composed)

    def override_dirname(self, words: Sequence[str], settings: Any) -> str:
        """Return the overrides of a job as the name of a folder, as Hydra makes it of what was typed."""
        excluded = {"out", *settings.exclude_keys}
        kept = sorted(word for word in words if word.lstrip("+~").partition("=")[0] not in excluded)
        return re.sub("=", lambda _: str(settings.kv_sep), str(settings.item_sep).join(kept))

    def log(self, verbose: Any) -> None:
        """Log at the level of `hydra.verbose`: `true` is all loggers, else the named ones, a name or a list of names."""
        names = [verbose] if isinstance(verbose, str) else verbose
        if isinstance(names, bool) or names is None:
            names = []
        elif not OmegaConf.is_list(names) and not isinstance(names, list):
            raise ConfigError(f"{self.label('hydra.verbose')}: write hydra.verbose=true, or loggers by name: 'hydra.verbose=[A,B]'")
        if verbose is True or names:
            logging.basicConfig(level=logging.DEBUG if verbose is True else logging.WARNING, stream=sys.stderr)
        for name in names:
            logging.getLogger(str(name)).setLevel(logging.DEBUG)


def read_hydra_settings(opened: Session, typed: Sequence[str], multirun: bool) -> tuple[HydraSettings, list[str]]:
    """Return Hydra's own settings and all other overrides, with `out=DIR` for the directory that Hydra is told.

    What other settings refer to of Hydra's is there for all configs that are composed from here on.

    Args:
        opened: finds config files.
        typed: the overrides.
        multirun: whether `--multirun` was typed.

    Raises:
        ConfigError: for a setting of Hydra's that has no effect here, or cannot be composed.
    """
    words, others = split_words(typed)
    require_choices(opened, words)
    settings = HydraSettings(opened, words, others, multirun)
    opened.hydra_words = words
    return settings, [*others, *settings.directory(others)]
