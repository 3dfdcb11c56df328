"""From the overrides as typed to those that Hydra does the right thing with.

Hydra has ways of doing something else in silence, all of them about lists of plugins and about order:

- `plugins=[a]` takes away what an experiment adds, `+plugins=[a]` does not, and a repeated one is an error or wins. Here
  all of them add up, into one `+plugins=[...]`.
- A plugin named after a bundle or an experiment that sets it is merged again and loses those settings. Here plugins come
  first, then bundles, then experiments, then single settings: what is more special wins, whatever the order it was typed in.
- A setting that no file mentions is refused before anyone can say which one was meant. Here it is added, and checked later
  against what the plugin takes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override

from accel.errors import ConfigError, nearest
from accel.system import shell_quoting

if TYPE_CHECKING:
    from accel.cli.compose.hydra_session import Session

__all__ = ["LISTS", "MOST", "Normal", "allowed", "is_bundle", "jobs", "members", "normalise", "parse"]

LISTS = ("plugins", "experiment")
MOST = 1000
"""Jobs of one multirun; more are a slip of the keyboard."""


def jobs(session: Session, typed: Sequence[str]) -> list[list[str]]:
    """The overrides of each job of a multirun: every combination of the values that were listed."""
    axes = []
    for text, override in zip(typed, parse(session, typed), strict=True):
        if not override.is_sweep_override():
            axes.append([text])
        elif override.is_discrete_sweep():
            axes.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
        else:
            raise ConfigError(f"{text}: list the values one by one; --multirun cannot search an interval")
    count = prod(len(axis) for axis in axes)
    if not 0 < count <= MOST:
        raise ConfigError(f"{' '.join(typed)} makes {count:,} jobs; list values for 1 to {MOST:,}")
    return [list(job) for job in product(*axes)]


@dataclass(frozen=True)
class Normal:
    """One job's overrides as Hydra takes them, the plugins asked for, and those switched off (Hydra refuses one that is not on)."""

    typed: list[str]
    overrides: list[str]
    asked: list[str]
    off: list[str]


def normalise(session: Session, typed: Sequence[str]) -> Normal:
    """Puts the overrides of one job in order.

    Raises:
        ConfigError: for one that cannot be read, names several values, or names a file that there is not.
    """
    chosen: dict[str, list[str]] = {key: [] for key in LISTS}
    groups, settings, off = [], [], []
    known = session.groups()
    for text, override in zip(typed, parse(session, typed), strict=True):
        key, plain = override.key_or_group, override.package is None and not override.is_delete()
        if key in LISTS and plain:
            chosen[key] += members(session, text, override)
        elif override.is_sweep_override():
            raise ConfigError(f"{text} names several values; add --multirun to run one after the other")
        elif key == "hydra" or (override.is_hydra_override() and not key.startswith("hydra.searchpath")):
            raise ConfigError(f"{text} has no effect: accel starts the jobs and makes their directory itself; out=DIR names it")
        elif key == "plugins" and override.is_delete():
            raise ConfigError(f"{text}: to switch a plugin off, write '~plugins.NAME'")
        elif key.startswith("plugins.") and key.count(".") == 1 and override.is_delete():
            off.append(key.removeprefix("plugins."))
        elif key.startswith("resume."):
            settings.append(f"++allow={allowed(text, override)}")
        elif not plain:
            settings.append(text)
        elif key in known:
            members(session, text, override)
            groups.append(text.lstrip("+") if key == "task" else text)
        else:
            settings.append(f"++{text.lstrip('+')}")
    chosen["plugins"].sort(key=lambda name: is_bundle(session, name))
    lists = [f"+{key}=[{','.join(names)}]" for key, names in chosen.items() if names]
    return Normal(list(typed), groups + lists + settings, chosen["plugins"], off)


def allowed(text: str, override: Override) -> str:
    """The value of `resume.allow=...`. `resume` itself is one text, which can hold nothing: in the config the list is `allow`."""
    key = override.key_or_group
    if key != "resume.allow" or override.is_delete():
        hint = nearest(key, ["resume.allow"]) or "; write resume=DIR, or 'resume.allow=[NAME,NAME]'"
        raise ConfigError(f"{text}: {key} is no setting of a run{hint}")
    return text.partition("=")[2]


def parse(session: Session, typed: Sequence[str]) -> list[Override]:
    """Each override taken apart. Raises ConfigError for the first that is none."""
    return [_parse(session, text) for text in typed]


def _parse(session: Session, text: str) -> Override:
    name = text.lstrip("+~").partition("=")[0]
    if not name or ("=" not in text and not text.startswith("~")):
        hint = f"; did you mean '+plugins=[{text}]'?" if text in session.options("plugins") else ": write NAME=VALUE"
        raise ConfigError(f"{text!r} is no setting{hint}")
    try:
        return session.parse(text)
    except Exception:  # whatever the parser trips over, it is this text
        key, _, value = text.partition("=")
        if re.search(r"[][{}()\"']|\$\{", value) or not re.fullmatch(r"[+~]*[\w./@-]+", key, re.ASCII):
            raise ConfigError(f"{text} cannot be read; close each bracket and quote, or quote it all: 'name=\"value\"'") from None
        # the shell expands ~ neither behind `task.root=` nor in quotes
        raise ConfigError(
            f"{text} cannot be read as it is; write {shell_quoting.override(key, os.path.expanduser(value))}"
        ) from None


def members(session: Session, text: str, override: Override) -> list[str]:
    """The files of a group that an override names: one, a list, or several with commas. Raises ConfigError for one there is not."""
    group = override.key_or_group
    if override.is_discrete_sweep() and any(isinstance(value, list) for value in override.sweep_iterator()):
        raise ConfigError(f"{text} names several lists; add --multirun to run one after the other")
    found = list(override.sweep_iterator()) if override.is_discrete_sweep() else override.value()
    found = [getattr(name, "text", name) for name in (found if isinstance(found, list) else [found])]
    listed = "[NAME,NAME]" if group in LISTS else "NAME"
    for name in found:
        if not isinstance(name, str) or not re.fullmatch(r"[\w./-]+", name):
            raise ConfigError(f"{text}: {_shown(name)} is no name; write {group}={listed}")
        if not session.has(f"{group}/{name}"):
            options = session.options(group)
            there = f" (there {'is' if len(options) == 1 else 'are'} {', '.join(options)})" if options else ""
            noun = group.removesuffix("s") if group in (*LISTS, "task") else f"{group} option"
            raise ConfigError(f"no {noun} is called {name!r}{nearest(name, options) or there}")
    return list(dict.fromkeys(found))


def _shown(value: object) -> str:
    return "null" if value is None else "an empty text" if value == "" else repr(value)


def is_bundle(session: Session, name: str) -> bool:
    """Whether conf/plugins/NAME.yaml only lists other plugins."""
    content = session.content(f"plugins/{name}")
    return "_target_" not in content and "defaults" in content
