"""Candidates for overrides: keys, plugin names in lists, config files, and the values that a setting can have."""

from __future__ import annotations

import re
import types
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, Union, get_args, get_origin

from accel.cli.completion.config_files import ConfigFiles
from accel.cli.completion.path_candidates import path_candidates
from accel.cli.compose.config import typed_value
from accel.cli.help_page import Row
from accel.errors import ConfigError
from accel.schema.settings import Settings, typed_name
from accel.schema.signature import Setting
from accel.schema.signature_reader import read_signature
from accel.values import kinds_of

__all__ = ["LAUNCHERS", "LISTS", "SWEEPERS", "OverrideCompletion", "kind_values", "listed_words", "override_candidates"]

LAUNCHERS = {
    "joblib": "with --multirun: several jobs at the same time",
    "submitit_slurm": "hand the jobs to Slurm",
    "submitit_local": "processes of this machine, in the background",
}
SWEEPERS = {"optuna": "with --multirun: Optuna proposes the settings of each run"}
LISTS = ("plugins", "experiment")


def override_candidates(words: Sequence[str], word: str) -> list[Row]:
    """Return (override, description) of the overrides that `word` can become.

    Args:
        words: the words before the cursor's.
        word: the cursor's word, up to the cursor.
    """
    return OverrideCompletion(words).candidates(word)


class OverrideCompletion:
    """Completion of one override, with the words before it in mind.

    Args:
        words: the words before the cursor's: they choose the task, the plugins and the directory of config files.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = words
        folders = [value for flag, value in pairwise(words) if flag in ("--config-dir", "-cd")]
        folders += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
        self.files = ConfigFiles(folders[-1] if folders else "")

    def candidates(self, word: str) -> list[Row]:
        """Return (override, description) of all overrides that may begin with `word`."""
        key, equals, value = word.partition("=")
        sign = re.match(r"[+~]*", word)[0]  # type: ignore[index]
        key = key.removeprefix(sign)
        if equals:
            return [(f"{sign}{key}={candidate}", about) for candidate, about in self.values(key, value)]
        if sign == "~":
            return [(f"~plugins.{name}", about) for name, about in self.plugins()]
        if key.startswith("plugins."):
            return [(f"{sign}{candidate}", about) for candidate, about in self.plugin_keys(key)]
        if key.startswith("task."):
            return [(f"{sign}task.{setting.name}=", setting.about) for setting in self.task.values()]
        return self.root_keys()

    def root_keys(self) -> list[Row]:
        """Return keys without a dot: settings of the run, and config groups."""
        groups = [group for group in self.files.groups() if group not in ("plugins", "task")]
        return [
            ("+plugins=[", "plugins, in any order"),
            *((f"+{group}=", "config files of this group") for group in groups),
            ("task=", "the data, the model and the loss"),
            ("task.", "a setting of the task"),
            ("plugins=[", "plugins, as the values of a --multirun"),
            ("plugins.", "a setting of a plugin"),
            ("~plugins.", "switch a plugin off"),
            ("hydra/launcher=", "jobs at the same time, here or on Slurm"),
            ("hydra/sweeper=", "runs whose settings are proposed"),
            *((f"{typed_name(name)}=", "") for name in kinds_of(Settings)),
        ]

    def plugin_keys(self, key: str) -> list[Row]:
        """Return keys below `plugins.`: names, or the settings of the plugin that `key` names."""
        name, dot, _ = key.removeprefix("plugins.").partition(".")
        if dot:
            return [(f"plugins.{name}.{setting.name}=", setting.about) for setting in self.settings_of(name).values()]
        chosen = [row for row in self.plugins() if row[0] in self.chosen and row[0].startswith(name)]
        return [(f"plugins.{option}.", about) for option, about in chosen or self.plugins()]

    def values(self, key: str, value: str) -> list[Row]:
        """Return the values that `key` can have, of which `value` has been typed."""
        if key in LISTS:
            return self.listed(key, value)
        if key in self.files.groups():
            return self.files.options(key)
        if key == "hydra/launcher":
            return list(LAUNCHERS.items())
        if key == "hydra/sweeper":
            return list(SWEEPERS.items())
        if key == "device":
            return [("auto", "CUDA, or else the CPU"), ("cpu", ""), ("cuda", ""), ("mps", "Apple"), ("xpu", "Intel")]
        if key == "resume":
            return [("auto", "the newest run in outputs/"), *path_candidates(value)]
        if key == "init":
            return path_candidates(value)
        group, _, name = key.rpartition(".")
        settings = self.task if group == "task" else self.settings_of(group.removeprefix("plugins.")) if group else {}
        if name in settings:
            return self.setting_values(settings[name], value)
        if key == "out":
            return path_candidates(value, only_folders=True)
        hints = {typed_name(field): kind for field, kind in kinds_of(Settings).items()}
        return kind_values(hints.get(key))

    def listed(self, group: str, value: str) -> list[Row]:
        """Return lists of config files that begin with `value`, such as `[amp,clip` for `[amp,c`.

        If one name is left, its list is returned twice, once closed and once going on. So no shell takes the word for finished.
        """
        if value.endswith("]"):
            return []
        bracket = "[" if value.startswith("[") or (group == "plugins" and not value) else ""
        earlier, comma, last = value.removeprefix("[").rpartition(",")
        taken = [*earlier.split(","), *(self.chosen if group == "plugins" else [])]
        rows = [row for row in self.files.options(group) if row[0].startswith(last) and row[0] not in taken]
        start = f"{bracket}{earlier}{comma}"
        if len(rows) == 1 and bracket:
            return [(f"{start}{rows[0][0]}{end}", rows[0][1]) for end in ("]", ",")]
        return [(f"{start}{name}", about) for name, about in rows]

    def setting_values(self, setting: Setting, value: str) -> list[Row]:
        """Return the values of one setting: its choices, the words that its comment lists, or paths."""
        paths = path_candidates(value) if str in (setting.kind, *get_args(setting.kind)) else []
        return [*kind_values(setting.kind), *(listed_words(setting.about) or paths)]

    def plugins(self) -> list[Row]:
        """Return (name, description) of all plugins and bundles."""
        return self.files.options("plugins")

    @cached_property
    def chosen(self) -> list[str]:
        """The plugins that earlier words name, and those that are on by default."""
        values = [word.partition("=")[2] for word in self.words if re.match(r"\+?plugins=", word)]
        return [*(name for value in values for name in value.strip("[]").split(",") if name), "progress", "metrics"]

    @cached_property
    def task(self) -> dict[str, Setting]:
        """The settings of the task that earlier words choose, by name; their descriptions are the comments of its file."""
        name, target = "digits", ""
        for word in self.words:
            key, _, value = word.lstrip("+").partition("=")
            name, target = (value, target) if key == "task" else (name, value if key == "task._target_" else target)
        comments = dict(re.findall(r"^(\w+): .*?  # (.*)$", self.files.text("task", name), re.MULTILINE))
        settings = _settings_of_class(target or self.files.target("task", name))
        return {key: Setting(key, one.kind, one.default, comments.get(key, one.about)) for key, one in settings.items()}

    def settings_of(self, plugin: str) -> dict[str, Setting]:
        """Return the settings of a plugin by name; none for a bundle or an unknown name."""
        return _settings_of_class(self.files.target("plugins", plugin))


def _settings_of_class(target: str) -> dict[str, Setting]:
    """Return the settings of a class by its dotted name; none if it cannot be read."""
    try:
        return read_signature(target).settings if target else {}
    except ConfigError:
        return {}


def kind_values(kind: Any) -> list[Row]:
    """Return the values of a kind, in terms of `accel.values`, as they are typed; none if they cannot be listed."""
    if get_origin(kind) is Literal:
        return [(typed_value(value), "") for value in get_args(kind)]
    if get_origin(kind) in (Union, types.UnionType):
        rows = [row for inner in get_args(kind) if inner is not type(None) for row in kind_values(inner)]
        return [*rows, ("null", "")] if type(None) in get_args(kind) else rows
    return [("true", ""), ("false", "")] if kind is bool else []


def listed_words(comment: str) -> list[Row]:
    """Return the words of a comment that lists them, such as `pillow | opencv (faster); ...`; none of any other comment."""
    parts = comment.partition(";")[0].rpartition(": ")[2].split(" | ")
    if len(parts) == 1:
        return []
    matches = [re.fullmatch(r"([\w.-]+)(?: \((.*)\))?\.?", part) for part in parts]
    return [(match[1], match[2] or "") for match in matches if match]
