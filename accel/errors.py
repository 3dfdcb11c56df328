"""What a user typed or passed that cannot work, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """Something the user typed or passed cannot work. Its text is the whole message: the cause, then the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class BadSample(ConfigError):
    """One sample cannot be read. `bad_data` says what becomes of it. Its text names the sample and the cause, then the fix."""


class TrainingError(RuntimeError):
    """A run that cannot go on, through nothing that was mistyped. Its text is the whole message: what happened, then what to try.

    The command line prints it without a traceback, with the command that goes on from the last checkpoint, and exits with code 1.
    """


def nearest(name: str, options: Iterable[str]) -> str:
    """`"; did you mean 'amp'?"` where one of `options` is close to `name`, else the empty string."""
    known = {option.lower(): option for option in options}
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {known[close[0]]!r}?" if close else ""


def describe(value: object) -> str:
    """A returned value in a few words: `None`, `a tensor of shape (32, 2)`, `a tuple of 3`, `the class Net`."""
    if value is None or isinstance(value, type):
        return "None" if value is None else f"the class {value.__name__}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if shape is None:
        return f"a {kind}"
    return f"a {kind.lower()} of shape {tuple(shape)}" if len(shape) else f"a {kind.lower()} of {getattr(value, 'dtype', kind)}"


class AccelWarning(UserWarning):
    """Something that works, and is probably not what was meant: a setting without effect, say."""


def conflict(names: list[str], part: str) -> str:
    """The sentence for two plugins that provide one part."""
    several = "both" if len(names) == 2 else "all"
    drop = " ".join(f"'~plugins.{name}'" for name in names[:-1])
    return f"plugins {' and '.join(names)} {several} provide {part}; keep one: {drop}"
