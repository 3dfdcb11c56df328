"""Overrides of a run without some of its plugins."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

__all__ = ["kept_words"]


def kept_words(typed: Sequence[str], left_out: Collection[str]) -> list[str]:
    """Return the overrides that start the same run without some of its plugins.

    Their names go from the lists in which they were typed, and their settings too. A plugin that an experiment or a bundle brings
    is switched off.

    >>> kept_words(["epochs=3", "+plugins=[amp,ema]", "plugins.ema.decay=0.9"], ["ema"])
    ['epochs=3', '+plugins=[amp]']
    >>> kept_words(["+experiment=fast"], ["ema"])
    ['+experiment=fast', '~plugins.ema']
    """
    words: list[str] = []
    missing = list(dict.fromkeys(left_out))
    for text in typed:
        key, _, value = text.partition("=")
        owner = re.match(r"[+~]*plugins\.(\w+)", key)
        if owner is not None and owner[1] in left_out:
            missing = [name for name in missing if name != owner[1] or "._target_" not in key]
            continue
        if key.lstrip("+") == "plugins" and re.fullmatch(r"\[[\w,\s]*\]|\w+", value):
            names = [name.strip() for name in value.strip("[]").split(",") if name.strip()]
            missing = [name for name in missing if name not in names]
            names = [name for name in names if name not in left_out]
            if names:
                words.append(f"{key}=[{','.join(names)}]")
            continue
        words.append(text)
    return [*words, *(f"~plugins.{name}" for name in missing)]
