"""Numbers that the user's own code holds, compared between the ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from accel.checkpoints.user_state import UserState
from accel.data.content_digest import content_digest
from accel.errors import listed
from accel.parts import Parallel
from accel.system.call_stack import warn_user

__all__ = ["LARGEST", "held_numbers", "warn_of_unequal_values"]

LARGEST = 2**20
"""Elements of a tensor or array, at most, that are compared."""
DIGEST = "digest "
NUMBERS = (float, complex, np.floating, np.complexfloating)
CONTAINERS = (dict, list, tuple)


def warn_of_unequal_values(parallel: Parallel, user_state: UserState) -> None:
    """Warn on the first rank if the ranks' objects, functions and global constants hold other numbers. Every rank must call it.

    A rank may have numbers of its own, such as the time at which it began. So they are no reason to refuse the run.
    """
    if not parallel.one_run or parallel.world_size == 1:
        return
    numbers = held_numbers(user_state)
    if len(set(parallel.gather(content_digest(numbers)))) == 1:
        return
    ranks = parallel.gather(numbers)
    common = [name for name in ranks[0] if all(name in each for each in ranks)]
    differing = [name for name in common if len({each[name] for each in ranks}) > 1]
    if parallel.rank == 0 and differing:
        shown = listed((_words(name, [each[name] for each in ranks]) for name in differing), 3, "; ")
        why = "the ranks compute with numbers of their own; set them alike, if they decide what is trained"
        warn_user(f"{parallel.name}: {shown}: {why}")


def held_numbers(user_state: UserState) -> dict[str, str]:
    """Return the numbers with a fraction, tensors and arrays that the loss, the metrics, the task and the model hold, as text.

    Whole numbers, flags and texts are left out: they may be the number of the rank, its device or its log file. So are the model's
    own tensors, which the first rank sends to all.
    """
    own = {id(tensor) for tensor in (*user_state.model.parameters(), *user_state.model.buffers())}
    numbers: dict[str, str] = {}
    for name, owner, key in user_state.places(constants=True):
        value = owner[key]
        if id(value) not in own and (text := _text(value)):
            numbers[name] = text
    for path, module in user_state.model.named_modules():
        numbers[f"model.{path}".rstrip(".") + ".training"] = str(module.training)
    return numbers


def _words(name: str, values: list[str]) -> str:
    """Return in words what each rank has."""
    if values[0].startswith(DIGEST):
        return f"{name} is not the same on every rank"
    return f"{name} is {' and '.join(f'{value} on rank {rank}' for rank, value in enumerate(values))}"


def _text(value: Any) -> str:
    """Return a value as text if it is a number with a fraction, or holds nothing else; an empty text for any other."""
    if isinstance(value, NUMBERS):
        return repr(value)
    if isinstance(value, Tensor | np.ndarray):
        size = value.numel() if isinstance(value, Tensor) else value.size
        is_number = value.is_floating_point() if isinstance(value, Tensor) else value.dtype.kind in "fc"
        return DIGEST + content_digest(value) if is_number and size <= LARGEST else ""
    if type(value) in CONTAINERS and 0 < len(value) <= LARGEST:
        inner = [_text(one) for one in (value.values() if isinstance(value, dict) else value)]
        return DIGEST + content_digest(inner) if all(inner) else ""
    return ""
