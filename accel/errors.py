"""What a user typed or passed that cannot work, said in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigError(ValueError):
    """Something the user typed or passed cannot work. Its text is the whole message: the cause, then the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class RunDirectoryTaken(ConfigError):
    """A run directory is another run's: one that is writing there, or has."""


class BadSample(ConfigError):
    """One sample cannot be read. `bad_data` says what becomes of it. Its text names the sample and the cause, then the fix."""


class TrainingError(RuntimeError):
    """A run that cannot go on, through nothing that was mistyped. Its text is the whole message: what happened, then what to try.

    The command line prints it without a traceback, with the command that goes on from the last checkpoint, and exits with code 1.

    Args:
        text: the message.
        resume: what that command goes on from instead, a checkpoint; empty where nothing is to be gone on from. None is the newest
            checkpoint of the run.
    """

    def __init__(self, text: str, resume: str | None = None) -> None:
        super().__init__(text)
        self.resume = resume


class Interrupted(SystemExit):
    """SIGTERM or SIGINT has stopped a run: after an update, with everything saved, or before the first one.

    A script that does not catch it ends with its `code`, 75 (EX_TEMPFAIL of sysexits.h: try again later), as the command line
    does. Its text says what happened.

    Args:
        signal: the name of the signal.
        update: the last update that was done; None where the run was still starting.
        saved: the run directory; None where the run has none.
        unsaved: why the disk did not take the last state; empty where it did.
    """

    STOPPED = 75

    def __init__(self, signal: str, update: int | None = None, saved: str | None = None, unsaved: str = "") -> None:
        self.signal, self.update, self.saved, self.unsaved = signal, update, saved, unsaved
        where = "while it was starting" if update is None else f"after update {update}"
        kept = "" if update is None or saved is not None else "; nothing was saved, for the run has no directory (out)"
        if unsaved:
            kept = f"; that state could not be saved ({unsaved}), what was saved before it is kept"
        super().__init__(f"stopped by {signal} {where}{kept}")
        self.code: int = self.STOPPED

    @property
    def resume(self) -> str:
        """What the next `Trainer` is to be given, as it is written in Python; empty where nothing was saved."""
        return "" if self.saved is None else f"resume={self.saved!r}"


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
