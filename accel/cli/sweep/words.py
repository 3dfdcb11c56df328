"""Words of a command line that ask for a sweeper of Hydra's."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["BASIC", "SEARCH", "SWEEPER", "asks_for_sweeper", "without_basic"]

SWEEPER = re.compile(r"\+*hydra[/.]sweeper\b")
SEARCH = re.compile(r"\+*hparams_search=")
"""Override of the group that chooses a sweeper and its `hydra.sweeper.params`, by the name that lightning-hydra-template has."""
BASIC = re.compile(r"\+*hydra/sweeper=basic")


def without_basic(typed: Sequence[str]) -> list[str]:
    """Return the overrides without the choice of Hydra's basic sweeper, which is what `--multirun` alone is here too."""
    return [word for word in typed if not BASIC.fullmatch(word)]


def asks_for_sweeper(typed: Sequence[str]) -> bool:
    """Return whether a sweeper is asked for, by name or by a file of `hparams_search`."""
    return any(SWEEPER.match(word) or SEARCH.match(word) for word in typed)
