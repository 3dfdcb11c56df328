"""Notice of draws from random generators in threads that read ahead, beside the training, which draws from the same ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import torch
from torch.overrides import TorchFunctionMode

from accel.device.generators import GeneratorHandle, global_generators

__all__ = ["RANDOM_FUNCTIONS", "Drew", "Item", "ReadInTurn", "Tripwire", "reading_ahead", "reads_ahead", "watched"]

Item = TypeVar("Item")

RANDOM_FUNCTIONS = frozenset(
    name
    for names in (
        "alpha_dropout alpha_dropout_ bernoulli bernoulli_ binomial cauchy_ dropout dropout1d dropout2d dropout3d",
        "dropout_ exponential_ feature_alpha_dropout feature_alpha_dropout_ feature_dropout feature_dropout_",
        "fractional_max_pool2d fractional_max_pool3d geometric_ gumbel_softmax log_normal_ multinomial native_dropout",
        "normal normal_ poisson rand rand_like randint randint_like randn randn_like random_ randperm rrelu rrelu_",
        "scaled_dot_product_attention uniform_",
    )
    for name in names.split()
)
"""Names of torch's functions that may draw from its global generator."""

_of_thread = threading.local()


class ReadInTurn(Exception):
    """Signal from a thread that reads ahead: what comes next must be read by the training's own thread, in its turn.

    Args:
        resume: returns the items from there on.
        certain: whether it is known that reading them draws random numbers; else something has drawn while they were read.
        late: whether items were read ahead before that was known.
    """

    def __init__(self, resume: Callable[[], Iterator[Any]], certain: bool, late: bool = False) -> None:
        super().__init__("the data draws random numbers, and is read in its turn")
        self.resume, self.certain, self.late = resume, certain, late

    def through(self, wrap: Callable[[Iterator[Any]], Iterator[Any]]) -> ReadInTurn:
        """Return the signal with `wrap` applied to the items that it gives."""
        return ReadInTurn(lambda: wrap(self.resume()), self.certain, self.late)


class Drew(BaseException):
    """Something was about to draw from torch's global generator; no data set catches it as an error of its own."""


class Tripwire(TorchFunctionMode):
    """Notice, in `tripped`, that something has drawn from a generator inside the block.

    Each thread has its own torch functions to look at: torch's global generator is watched there, for the training draws from it at
    the same time. All others are compared before and after. If the training draws from those meanwhile, it is a false alarm.

    Args:
        handles: the generators.
        prevent: raise Drew before something is drawn from torch's global generator.
    """

    def __init__(self, handles: Sequence[GeneratorHandle], prevent: bool = False) -> None:
        super().__init__()
        self.prevent = prevent
        self.handles = [handle for handle in handles if handle.generator is not torch.default_generator]
        self.tripped = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function; trip if it draws from the global generator."""
        if not self.tripped and getattr(func, "__name__", "") in RANDOM_FUNCTIONS:
            self.tripped = (kwargs or {}).get("generator") is None
            if self.tripped and self.prevent:
                raise Drew
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> Tripwire:
        self.marks, self.torch_seed = [handle.mark() for handle in self.handles], torch.initial_seed()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        moved = [handle.mark() for handle in self.handles] != self.marks
        self.tripped = self.tripped or moved or torch.initial_seed() != self.torch_seed


def reads_ahead() -> bool:
    """Return whether this thread reads ahead of the training."""
    return getattr(_of_thread, "ahead", False)


@contextmanager
def reading_ahead(ahead: bool = True) -> Iterator[None]:
    """Mark this thread, inside the block, as one that reads ahead; or as none, in a process forked from one."""
    before, _of_thread.ahead = reads_ahead(), ahead
    try:
        yield
    finally:
        _of_thread.ahead = before


def watched(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items that can be read only once; where they are read ahead and one draws, all after it are read in turn."""
    handles = global_generators()
    while True:
        if reads_ahead():
            with Tripwire(handles) as wire:
                item = list(islice(items, 1))
            tripped = wire.tripped
        else:  # read in turn, whatever it draws; looking costs 70 microseconds
            item, tripped = list(islice(items, 1)), False
        if tripped:
            raise ReadInTurn(partial(chain, item, items), certain=True, late=True)
        if not item:
            return
        yield item.pop()
