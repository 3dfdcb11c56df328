"""What is to be said of a diagnosis beside its tables: what was not measured, and that there is no remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["no_remedy", "unknowns"]


def no_remedy(left_out: Sequence[str]) -> str:
    """Return that there is no remedy, in words, with a limit if there was no time for some measurements.

    >>> no_remedy([])
    'nothing that is possible here, and not on already, would make it 2 % faster'
    """
    some = "of what there was time to measure, " if left_out else ""
    return f"{some}nothing that is possible here, and not on already, would make it 2 % faster"


def unknowns(left_out: Sequence[str], unmeasured: Sequence[str]) -> Iterator[str]:
    """Yield what was not measured, and why.

    Args:
        left_out: measurements for which there was no time.
        unmeasured: sentences on what cannot be measured here.
    """
    if left_out:
        yield f"no time was left for: {', '.join(left_out)} (--seconds)"
    yield from unmeasured
