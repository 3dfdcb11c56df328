"""Hydra's own settings by their names: those that mean something here, and why others have no effect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from accel.errors import ConfigError, nearest

__all__ = [
    "COSMETIC", "KNOWN", "REFUSED", "SEARCHPATH", "dotted", "key_of", "refusal", "require_directories", "require_known",
    "split_words",
]  # fmt: skip

HYDRA = re.compile(r"[+~]*hydra(?=[/.=]|$)(?!\.searchpath)")
SEARCHPATH = "hydra.searchpath"
"""Setting that Hydra reads before all files, so that it stays among the overrides of the jobs."""
KNOWN = (
    "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name", "hydra.job.config.override_dirname",
    "hydra.launcher", "hydra.sweeper", "hydra.verbose", "hydra.mode", SEARCHPATH,
)  # fmt: skip
"""Settings that mean something here, with all that is below them."""
REFUSED = {
    "hydra.job.chdir": "a run stays in the directory in which it was started, where the paths of its settings begin",
    "hydra.output_subdir": "the config of a run is in its directory, config.yaml",
    "hydra.job_logging": "Python's logging is left as it is; hydra.verbose=true, or the names of loggers, shows more",
    "hydra.hydra_logging": "accel says what there is to say of a config",
    "hydra.help": "the help page is accel's own",
    "hydra.hydra_help": "the help page is accel's own",
    "hydra.callbacks": "what looks on at a run is a Watch, '+plugins=[NAME]'",
    "hydra.job.env_set": "set it before the command, NAME=VALUE python -m accel.train ...",
    "hydra.job.env_copy": "the jobs have the variables of the process that starts them",
    "hydra.env": "the jobs have the variables of the process that starts them",
    "hydra.runtime": "Hydra finds it out by itself",
    "hydra.overrides": "Hydra finds it out by itself",
    "hydra.job.id": "each job has its own",
    "hydra.job.num": "each job has its own",
    "hydra.job.override_dirname": "each job has its own",
    "hydra.job.config_name": "--config-name names it",
}
"""Settings without an effect here, and why."""
COSMETIC = ("hydra.job_logging", "hydra.hydra_logging", "hydra.help", "hydra.hydra_help", "hydra.output_subdir")
"""Those that a config file may have all the same, which is a warning: a run is the same without them."""
HARMLESS = {"hydra.job.chdir": ("false", "null", "none", ""), "hydra.output_subdir": ("null", "none", "")}
"""Values that ask for what is the case anyway."""


def split_words(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of Hydra's own settings, and all others.

    >>> split_words(["hydra.run.dir=x", "hydrant=1", "+hydra/launcher=joblib", "hydra.searchpath=[a]"])
    (['hydra.run.dir=x', '+hydra/launcher=joblib'], ['hydrant=1', 'hydra.searchpath=[a]'])
    """
    return [word for word in typed if HYDRA.match(word)], [word for word in typed if not HYDRA.match(word)]


def key_of(word: str) -> str:
    """Return the key of an override, with dots.

    >>> key_of("+hydra/launcher=joblib")
    'hydra.launcher'
    """
    return word.lstrip("+~").partition("=")[0].replace("/", ".").partition("@")[0]


def dotted(content: Mapping[Any, Any], prefix: str = "hydra") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted keys, without defaults lists.

    >>> dotted({"run": {"dir": "x"}, "defaults": []})
    {'hydra.run.dir': 'x'}
    """
    values: dict[str, Any] = {}
    for name, value in content.items():
        if name == "defaults":
            continue
        key = f"{prefix}.{name}"
        values |= dotted(value, key) if isinstance(value, Mapping) and value else {key: value}
    return values


def refusal(key: str, value: Any) -> str:
    """Return why a setting has no effect here; empty if it has one, or asks for what is the case anyway.

    Args:
        key: with dots.
        value: as text, or as a file has it.
    """
    if _inside(key, KNOWN):
        return ""
    owner = max(_inside(key, REFUSED), key=len, default="")
    if str(value).lower() in HARMLESS.get(owner, ()):
        return ""
    if not owner:
        return f"no setting of Hydra's is called so{nearest(key, [*KNOWN, *REFUSED])}"
    return REFUSED[owner]


def require_known(words: Sequence[str]) -> None:
    """Raise ConfigError for a typed setting of Hydra's that has no effect here."""
    for word in words:
        if (reason := refusal(key_of(word), word.partition("=")[2])) != "":
            raise ConfigError(f"{word} has no effect: {reason}")


def require_directories(words: Sequence[str], multirun: bool) -> None:
    """Raise ConfigError for the directory of a multirun where there is one run, and the other way round.

    Args:
        words: overrides of Hydra's settings.
        multirun: whether these are several runs.
    """
    for word in words:
        key, value = key_of(word), word.partition("=")[2]
        if key == "hydra.run.dir" and multirun:
            raise ConfigError(f"{word} names the directory of one run, and these are several: write hydra.sweep.dir={value}")
        if key in ("hydra.sweep.dir", "hydra.sweep.subdir") and not multirun:
            raise ConfigError(f"{word} names the directory of a multirun, and this is one run: write hydra.run.dir={value}")


def _inside(key: str, groups: Sequence[str] | Mapping[str, str]) -> list[str]:
    return [group for group in groups if key == group or key.startswith(f"{group}.")]
