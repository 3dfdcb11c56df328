"""Overrides of Hydra's own settings that mean something here, in accel's words."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from accel.errors import ConfigError

__all__ = ["in_own_words"]

DIRECTORIES = {"hydra.run.dir": False, "hydra.sweep.dir": True}
"""Settings that name a directory, and whether it is that of a multirun."""
REFUSED = {
    "hydra.job.name": "a run is called after its directory: out=DIR",
    "hydra.sweep.subdir": "job N of a multirun is in N of its directory",
    "hydra.job.chdir": "a run stays in the directory in which it was started; out=DIR names its own",
    "hydra.output_subdir": "the config of a run is in its directory, config.yaml",
}


def in_own_words(typed: Sequence[str], multirun: bool) -> list[str]:
    """Return overrides with `out` for `hydra.run.dir` and `hydra.sweep.dir`; `hydra.verbose` is obeyed here, and left out.

    Args:
        typed: the overrides.
        multirun: whether these are several runs.

    Raises:
        ConfigError: for a directory of the other kind, and for settings of Hydra that a run has not.
    """
    words = []
    for word in typed:
        key, _, value = word.lstrip("+").partition("=")
        if key in DIRECTORIES:
            if DIRECTORIES[key] is not multirun:
                other = "hydra.sweep.dir" if multirun else "hydra.run.dir"
                kind = "one run, and these are several" if multirun else "a multirun, and this is one run"
                raise ConfigError(f"{word} names the directory of {kind}: write {other}={value}")
            words.append(f"out={value}")
        elif key == "hydra.verbose":
            _log(word, value)
        elif key in REFUSED:
            raise ConfigError(f"{word} has no effect: {REFUSED[key]}")
        else:
            words.append(word)
    return words


def _log(word: str, value: str) -> None:
    """Log at the level of `hydra.verbose`: `true` is all loggers, else the named ones, a name or `[NAME,NAME]`."""
    names = re.fullmatch(r"\[?\s*([\w.]+(\s*,\s*[\w.]+)*)\s*\]?", value)
    if names is None:
        raise ConfigError(f"{word}: write hydra.verbose=true, or the names of loggers: 'hydra.verbose=[NAME,NAME]'")
    if value.lower() == "false":
        return
    logging.basicConfig(level=logging.DEBUG if value.lower() == "true" else logging.WARNING)
    for name in [] if value.lower() == "true" else re.split(r"\s*,\s*", names[1]):
        logging.getLogger(name).setLevel(logging.DEBUG)
