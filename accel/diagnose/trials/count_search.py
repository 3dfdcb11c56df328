"""Search of a number: how many readers, how far ahead, how many threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accel.compare import NEGLIGIBLE, SpeedRatio

__all__ = ["MODEL_IS_THE_LIMIT", "SearchResult", "SearchStep", "search_count", "search_fewer"]

MODEL_IS_THE_LIMIT = "the model is the limit"
"""End of a search where updates no longer wait."""
Faster = Callable[[int, int], SpeedRatio]
"""Function of two numbers: how many times faster the run is with the second than with the first."""


@dataclass(frozen=True)
class SearchStep:
    """Comparison of two numbers.

    Args:
        base: the number that was the best before.
        other: the number that was tried.
        speed: how many times faster the other is.
    """

    base: int
    other: int
    speed: SpeedRatio

    @property
    def is_faster(self) -> bool:
        """Whether the other is faster beyond the noise."""
        return self.speed.low > 1 + NEGLIGIBLE


@dataclass(frozen=True)
class SearchResult:
    """Number that was found.

    Args:
        count: the number.
        steps: comparisons on the way.
        end: why the search ended, in words.
    """

    count: int
    steps: tuple[SearchStep, ...]
    end: str


def search_count(
    first: int, most: int, bound: str, faster: Faster, is_enough: Callable[[int], bool], fewer: bool = True
) -> SearchResult:  # fmt: skip
    """Return the number with which the run is fastest: doubled while that is faster beyond the noise, then between the last two.

    If not even the first doubling helps, fewer are tried (`search_fewer`), if `fewer` says so.

    Args:
        first: number to begin with.
        most: highest number.
        bound: what makes it the highest, in words.
        faster: compares two numbers.
        is_enough: whether more than this number cannot help, since nobody waits with it.
        fewer: whether fewer may be better.
    """
    steps: list[SearchStep] = []
    best = min(first, most)
    while True:
        other = min(2 * best, most)
        if is_enough(best):
            end = MODEL_IS_THE_LIMIT
            break
        if other == best:
            end = f"more than {most} are not possible: {bound}"
            break
        steps.append(SearchStep(best, other, faster(best, other)))
        if not steps[-1].is_faster:
            end = f"{other} bring nothing beyond the noise"
            middle = (best + other) // 2
            if best > first and best < middle < other:
                steps.append(SearchStep(best, middle, faster(best, middle)))
                best = middle if steps[-1].is_faster else best
            break
        best = other
    if best > min(first, most) or not fewer:
        return SearchResult(best, tuple(steps), end)
    below = search_fewer(best, faster)
    return SearchResult(below.count, (*steps, *below.steps), end if below.count == best else below.end)


def search_fewer(first: int, faster: Faster) -> SearchResult:
    """Return the number with which the run is fastest, halved while that is faster beyond the noise.

    Args:
        first: number to begin with.
        faster: compares two numbers.
    """
    best, steps = first, list[SearchStep]()
    while best > 1:
        steps.append(SearchStep(best, best // 2, faster(best, best // 2)))
        if not steps[-1].is_faster:
            return SearchResult(best, tuple(steps), f"{best // 2} are no faster")
        best //= 2
    return SearchResult(best, tuple(steps), "there are no fewer")
