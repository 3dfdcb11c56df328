"""Patterns that name many files: `DIR/train-{000..146}.tar`, `DIR/train-*.tar`."""

from __future__ import annotations

import os
import re
from glob import glob
from itertools import product
from pathlib import Path

from accel.data.remote import fsspec_client
from accel.errors import ConfigError

__all__ = ["MAX_FILES", "SplitNotFound", "expand", "expand_braces"]

MAX_FILES = 1_000_000
"""Files that a pattern may name."""


class SplitNotFound(ConfigError):
    """Files of a split that are not where a setting says."""


def expand(pattern: str) -> list[str]:
    """Return the files that a pattern names, each once: braces in the order written, `*` and `?` sorted.

    >>> expand_braces("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']

    Raises:
        ConfigError: If there is no such file, or braces are wrong.
    """
    names: list[str] = []
    for name in expand_braces(pattern):
        if re.search(r"[*?\[]", name):
            names += fsspec_client.glob_urls(name) if fsspec_client.is_url(name) else sorted(glob(str(Path(name).expanduser())))
        else:
            names.append(name if fsspec_client.is_url(name) else str(Path(name).expanduser()))
    if not names:
        raise SplitNotFound(f"{pattern}: there is no such file")
    if not any(fsspec_client.is_url(name) or os.path.exists(name) for name in names):
        raise SplitNotFound(f"cannot read {names[0]}: No such file or directory")
    return list(dict.fromkeys(names))


def expand_braces(pattern: str) -> list[str]:
    """Return a pattern with each `{a,b}` and each `{first..last}` of numbers written out.

    Raises:
        ConfigError: If a range runs backwards, or the pattern names more than a million files.
    """
    parts: list[list[str]] = []
    count = 1
    for number, text in enumerate(re.split(r"\{([^{}]*)\}", pattern)):
        parts.append(_choices(text, pattern) if number % 2 else [text])
        count *= len(parts[-1])
        if count > MAX_FILES:
            raise ConfigError(f"{pattern} names more than {MAX_FILES:,} files; write fewer")
    return ["".join(choice) for choice in product(*parts)]


def _choices(text: str, pattern: str) -> list[str]:
    """Return the choices that the text between two braces stands for."""
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", text)
    if numbers is None:
        if "," in text:
            return text.split(",")
        raise ConfigError(f"{pattern}: {{{text}}} is neither a range such as {{000..146}} nor a choice such as {{a,b}}")
    first, last = int(numbers[1]), int(numbers[2])
    if not first <= last < first + MAX_FILES:
        raise ConfigError(f"{pattern}: the range {{{text}}} must run upwards, over at most {MAX_FILES:,} numbers")
    return [f"{number:0{len(numbers[1])}}" for number in range(first, last + 1)]
