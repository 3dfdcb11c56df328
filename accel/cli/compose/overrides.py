"""Overrides as they are typed, rewritten so that Hydra does what is meant.

As they are, Hydra does something else in silence, in these cases:

- `plugins=[a]` takes away what an experiment adds, `+plugins=[a]` does not, and a repeated one is an error or wins. Here
  all of them add up, into one `+plugins=[...]`.
- A plugin named after a bundle or an experiment that sets it is merged again and loses those settings. Here plugins come
  first, then bundles, then experiments, then single settings: the more special wins, in whatever order they are typed.
- A setting that no file mentions is refused before anyone can say which one was meant. Here it is added, and checked later
  against the settings of the class.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from accel.cli.arguments import program_name
from accel.cli.commands import COMMANDS
from accel.errors import ConfigError, nearest
from accel.schema.settings import NESTED, SHORT
from accel.system import shell_quoting

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session

__all__ = ["LISTS", "MAX_JOBS", "SEARCH", "JobOverrides", "in_config", "is_bundle", "jobs", "named_files", "normalise", "parse"]

LISTS = ("plugins", "experiment")
SEARCH = "hparams_search"
"""Group whose files say what a sweep searches, by the name that lightning-hydra-template has."""
MAX_JOBS = 1000
"""Jobs of one multirun; more are a typing mistake."""


def jobs(session: Session, typed: Sequence[str]) -> list[list[str]]:
    """Return the overrides of each job of a multirun: every combination of the values that are listed.

    Raises:
        ConfigError: if an override cannot be read or is no list, or there are more than `MAX_JOBS` jobs.
    """
    axes = []
    for text, override in zip(typed, parse(session, typed), strict=True):
        if not override.is_sweep_override():
            axes.append([text])
        elif override.is_discrete_sweep():
            axes.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
        else:
            raise ConfigError(f"{text}: list the values one by one; --multirun cannot search an interval")
    count = prod(len(axis) for axis in axes)
    if not 0 < count <= MAX_JOBS:
        raise ConfigError(f"{' '.join(typed)} makes {count:,} jobs; list values for 1 to {MAX_JOBS:,}")
    return [list(job) for job in product(*axes)]


@dataclass(frozen=True)
class JobOverrides:
    """Overrides of one job.

    Args:
        typed: as they were typed.
        for_hydra: as Hydra takes them.
        requested: the plugins that they name.
        disabled: the plugins to be switched off, which Hydra would refuse if one was not on.
    """

    typed: list[str]
    for_hydra: list[str]
    requested: list[str]
    disabled: list[str]


def normalise(session: Session, typed: Sequence[str]) -> JobOverrides:
    """Return the overrides of one job in the order and form that Hydra needs.

    Raises:
        ConfigError: if one cannot be read, has several values, or names a config file that does not exist.
    """
    chosen: dict[str, list[str]] = {key: [] for key in LISTS}
    groups, settings, disabled = [], [], []
    all_groups, on, listed = session.groups(), session.default_plugins(), session.listed_groups() - {"plugins"}
    for text, override in zip(typed, parse(session, typed), strict=True):
        key, plain = override.key_or_group, override.package is None and not override.is_delete()
        if key in LISTS and plain:
            chosen[key] += named_files(session, text, override, [*on, *chosen["plugins"]])
        elif override.is_sweep_override():
            raise ConfigError(f"{text} names several values; add --multirun to run one after the other")
        elif key == "hydra" or (override.is_hydra_override() and not key.startswith("hydra.searchpath")):
            raise ConfigError(f"{text} has no effect: accel starts the jobs and makes their directory itself; out=DIR names it")
        elif key == "plugins" and override.is_delete():
            raise ConfigError(f"{text}: to switch a plugin off, write '~plugins.NAME'")
        elif key.startswith("plugins.") and key.count(".") == 1 and override.is_delete():
            disabled.append(key.removeprefix("plugins."))
        elif key.startswith("resume.") or (plain and key in SHORT):
            settings.append(f"++{in_config(text, override)}")
        elif not plain:
            settings.append(text)
        elif key in all_groups:
            names = named_files(session, text, override)
            if key == "task" and session.is_resolved:  # whose settings would go before those of the file
                target = session.read_file(f"task/{names[-1]}").get("_target_", "mine.MyTrainer")
                raise ConfigError(f"{text}: the config of a run has its task; another takes its class: task._target_={target}")
            groups.append(text.lstrip("+") if key == "task" or key in listed else f"+{text.lstrip('+')}" if key == SEARCH else text)
        else:
            settings.append(f"++{text.lstrip('+')}")
    chosen["plugins"].sort(key=lambda name: is_bundle(session, name))
    lists = [f"{'' if key in listed else '+'}{key}=[{','.join(names)}]" for key, names in chosen.items() if names]
    return JobOverrides(list(typed), groups + lists + settings, chosen["plugins"], disabled)


def in_config(text: str, override: Override) -> str:
    """Return an override of a setting that is typed by another name than its key in the config (`SHORT`), by that key.

    Raises:
        ConfigError: if the override is another one below `resume`, which is a text in the config.
    """
    key = override.key_or_group
    if key not in SHORT or override.is_delete():
        hint = nearest(key, ["resume.allow"]) or "; write resume=DIR, or 'resume.allow=[NAME,NAME]'"
        raise ConfigError(f"{text}: {key} is no setting of a run{hint}")
    if key in NESTED and isinstance(override.value(), dict):  # all of its settings
        return text.lstrip("+")
    return f"{SHORT[key]}={text.partition('=')[2]}"


def parse(session: Session, typed: Sequence[str]) -> list[Override]:
    """Return each override, parsed. Raise ConfigError if one cannot be read."""
    return [_parse(session, text) for text in typed]


def _parse(session: Session, text: str) -> Override:
    """Return one override, parsed. Raise ConfigError if it cannot be read."""
    name = text.lstrip("+~").partition("=")[0]
    if not name or ("=" not in text and not text.startswith("~")):
        hint = "; write NAME=VALUE"
        if text in session.options("plugins"):
            hint = f"; did you mean '+plugins=[{text}]'?"
        elif text in {command.name for command in COMMANDS}:
            hint = f"; did you mean '{program_name(text)}'?"
        raise ConfigError(f"{text!r} is no setting{hint}")
    try:
        return session.parse(text)
    except Exception:  # of whatever kind, the text causes it
        key, _, value = text.partition("=")
        if re.search(r"[{,]\s*(['\"])[^'\"]*\1\s*:", value):
            raise ConfigError(f"{text} cannot be read: what stands before a ':' takes no quotes; leave them out") from None
        if re.search(r"[][{}()\"']|\$\{", value) or not re.fullmatch(r"[+~]*[\w./@-]+", key, re.ASCII):
            raise ConfigError(f"{text} cannot be read; close each bracket and quote, or quote it all: 'name=\"value\"'") from None
        # the shell expands ~ neither behind `task.root=` nor in quotes
        raise ConfigError(
            f"{text} cannot be read as it is; write {shell_quoting.override(key, os.path.expanduser(value))}"
        ) from None


def named_files(session: Session, text: str, override: Override, on: Sequence[str] = ()) -> list[str]:
    """Return the files of a group that an override names: one, a list, or several with commas.

    Args:
        session: finds config files.
        text: the override as it was typed.
        override: the override, parsed.
        on: names that are in use already, which no wrong name can stand for.

    Raises:
        ConfigError: if a name is no text, or there is no such file.
    """
    group = override.key_or_group
    if override.is_discrete_sweep() and any(isinstance(value, list) for value in override.sweep_iterator()):
        raise ConfigError(f"{text} names several lists; add --multirun to run one after the other")
    value = list(override.sweep_iterator()) if override.is_discrete_sweep() else override.value()
    names: list[Any] = [getattr(name, "text", name) for name in (value if isinstance(value, list) else [value])]
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[\w./-]+", name):
            form = "[NAME,NAME]" if group in LISTS else "NAME"
            raise ConfigError(f"{text}: {_describe(name)} is no name; write {group}={form}")
        if not session.has_file(f"{group}/{name}"):
            options = session.options(group)
            known = f" (there {'is' if len(options) == 1 else 'are'} {', '.join(options)})" if options else ""
            noun = group.removesuffix("s") if group in (*LISTS, "task") else f"{group} option"
            used = [*on, *(other for other in names if isinstance(other, str) and other != name)]
            raise ConfigError(f"no {noun} is called {name!r}{nearest(name, options, used) or known}")
    return list(dict.fromkeys(names))


def _describe(value: object) -> str:
    """Return a value that is no name in words."""
    return "null" if value is None else "an empty text" if value == "" else repr(value)


def is_bundle(session: Session, name: str) -> bool:
    """Return whether the file of a plugin only lists other plugins."""
    content = session.read_file(f"plugins/{name}")
    return "_target_" not in content and "defaults" in content
