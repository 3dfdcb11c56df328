"""Errors as sentences: input that cannot work, and runs that cannot go on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

__all__ = [
    "MOST",
    "UNSEEN",
    "AccelWarning",
    "BadSample",
    "ConfigError",
    "Interrupted",
    "MovedWarning",
    "RunDirectoryTaken",
    "Sentence",
    "TrainingError",
    "conflict",
    "describe",
    "listed",
    "nearest",
    "visible",
]

UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that a terminal obeys or hides: C0, DEL, C1, marks of direction, separators of lines, lone surrogates."""
MOST = 3
"""The most words that are suggested for one that was mistyped."""


def visible(text: str, keep: str = "") -> str:
    r"""Return a text in which each character that a terminal would obey or hide is shown by its number, but those in `keep`.

    Names of files and classes come from anywhere. Shown so, they can neither clear the screen nor look like other names.

    >>> print(visible("\x1b[2Jcat\u202e"))
    \x1b[2Jcat\u202e
    """

    def number(match: re.Match[str]) -> str:
        code = ord(match[0])
        return match[0] if match[0] in keep else f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return UNSEEN.sub(number, text)


class Sentence(Exception):
    """An error or a warning whose text can be shown as it is, whatever names stand in it: see `visible`."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(visible(text) if isinstance(text, str) else text for text in args))

    def _render_traceback_(self) -> list[str]:
        """Return the lines that a notebook shows of the error, in place of its traceback (IPython's protocol)."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(Sentence, ValueError):
    """Input that cannot work, typed or passed by the user. Its text is the whole message: the cause, then the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class RunDirectoryTaken(ConfigError):
    """A run directory that belongs to another run, which is writing there or has."""


class BadSample(ConfigError):
    """A sample that cannot be read. Its text names the sample and the cause, then the fix.

    The setting `bad_data` decides whether the run ends, leaves the sample out, or takes another.
    """


class TrainingError(Sentence, RuntimeError):
    """A run that cannot go on, though nothing was mistyped. Its text is the whole message: what happened, then a remedy.

    The command line prints it without a traceback, with the command that goes on from the last checkpoint, and exits with code 1.

    Args:
        text: the message.
        resume: the checkpoint from which that command goes on; empty if there is none to go on from. None is the newest
            checkpoint of the run.
    """

    def __init__(self, text: str, resume: str | None = None) -> None:
        super().__init__(text)
        self.resume = resume


class Interrupted(SystemExit):
    """A run that SIGTERM or SIGINT has stopped: after an update, with everything saved, or before the first one.

    A script that does not catch it ends with its `code`, 75 (EX_TEMPFAIL of sysexits.h: try again later), as the command line
    does. Its text says what happened.

    Args:
        signal: the name of the signal.
        update: the last update that was done; None if the run was still starting.
        saved: the run directory; None if the run has none.
        unsaved: why the disk did not take the last state; empty if it did.
    """

    STOPPED = 75

    def __init__(self, signal: str, update: int | None = None, saved: str | None = None, unsaved: str = "") -> None:
        self.signal, self.update, self.saved, self.unsaved = signal, update, saved, unsaved
        moment = "while it was starting" if update is None else f"after update {update}"
        consequence = "" if update is None or saved is not None else "; nothing was saved, for the run has no directory (out)"
        if unsaved:
            consequence = f"; that state could not be saved ({unsaved}), what was saved before it is kept"
        super().__init__(f"stopped by {signal} {moment}{consequence}")
        self.code: int = self.STOPPED

    @property
    def resume(self) -> str:
        """The argument for the next `Trainer`, as it is written in Python; empty if nothing was saved."""
        return "" if self.saved is None else f"resume={self.saved!r}"


def nearest(name: str, options: Iterable[str], on: Iterable[str] = ()) -> str:
    """Return `"; did you mean 'amp'?"` if one of `options` is close to `name`, all that are equally close; else the empty string.

    Args:
        name: the word as it was typed.
        options: the words that there are.
        on: those of them that are in use already, and cannot have been meant.
    """
    originals = {option.lower(): option for option in options}
    typed, used = name.lower(), {option.lower() for option in on}
    alike = get_close_matches(typed, originals, n=len(originals) or 1, cutoff=0.5)  # the most alike first
    distances = {option: _distance(typed, option) for option in alike}
    near = [option for option in alike if 2 * distances[option] <= sum(map(str.isalnum, typed))]
    free = [option for option in near if option not in used]
    if not near:
        return ""
    nearest_of_all = min(near, key=distances.__getitem__)
    best = min(free, key=distances.__getitem__, default="")
    if not best or distances[best] > distances[nearest_of_all] + 1:
        return f"; {originals[nearest_of_all]} is on already"
    ties = [option for option in free if (distances[option], _ratio(typed, option)) == (distances[best], _ratio(typed, best))]
    return f"; did you mean {' or '.join(repr(originals[option]) for option in sorted(ties)[:MOST])}?"


def _ratio(typed: str, option: str) -> float:
    """Return the share of letters that two words have in common, in order."""
    return SequenceMatcher(None, option, typed).ratio()


def _distance(typed: str, option: str) -> int:
    """Return how many letters were left out, added, replaced or swapped with their neighbours; 1 for a word broken off.

    Source: the optimal string alignment distance; Damerau, A technique for computer detection and correction of spelling errors,
    1964.
    """
    if len(typed) > 2 and option.startswith(typed):
        return min(1, len(option) - len(typed))
    rows = [list(range(len(option) + 1))]
    for i, letter in enumerate(typed, start=1):
        row = [i]
        for j, other in enumerate(option, start=1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == option[j - 2] and typed[i - 2] == other:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]


def describe(value: object) -> str:
    """Return a value in a few words: `None`, `a tensor of shape (32, 2)`, `a tuple of 3`, `the class Net`."""
    if value is None or isinstance(value, type):
        return "None" if value is None else f"the class {value.__name__}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if shape is None:
        return f"a {kind}"
    return f"a {kind.lower()} of shape {tuple(shape)}" if len(shape) else f"a {kind.lower()} of {getattr(value, 'dtype', kind)}"


def listed(words: Iterable[object], most: int = 1, between: str = ", ", rest: int = 0) -> str:
    """Return the first of several words, and the number of the others: `a, b and 4 more`.

    Args:
        words: any values, of which each is shown as text.
        most: how many are shown.
        between: what stands between them.
        rest: number of further ones that are not among the words.
    """
    texts = list(map(str, words))
    rest += len(texts[most:])
    shown = between.join(texts[:most])
    return f"{shown}{between.rstrip(', ')} and {rest:,} more" if rest and shown else shown


class AccelWarning(Sentence, UserWarning):
    """Input that works, but is probably a mistake: a setting without effect, say."""


class MovedWarning(AccelWarning, DeprecationWarning):
    """Old name of a module, class or function, which still works. Python shows it as it shows any DeprecationWarning.

    The command line shows it always, as it does every `AccelWarning`: a config may name an old path too.
    """


def conflict(names: list[str], part: str) -> str:
    """Return the error for several plugins that provide one part."""
    quantity = "both" if len(names) == 2 else "all"
    overrides = " ".join(f"'~plugins.{name}'" for name in names[:-1])
    return f"plugins {' and '.join(names)} {quantity} provide {part}; keep one: {overrides}"
