"""The time that torch takes to compile, booked as such, whether a plugin compiles or the user's own model does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

from accel.system.clock import COMPILE, Clock

__all__ = ["booked_compiling"]


@contextmanager
def booked_compiling(clock: Clock) -> Iterator[None]:
    """Book the time of compiling inside the block as such, whatever phase of the run it falls in.

    Nothing is done if torch's compiler is not imported: then nothing has been given to it. (It takes seconds to import.)
    """
    if "torch._dynamo" not in sys.modules:
        yield
        return
    from torch._dynamo.callback import callback_handler, on_compile_end, on_compile_start

    started_at = 0.0

    def started(_: Any) -> None:
        nonlocal started_at
        started_at = perf_counter()

    def ended(_: Any) -> None:
        clock.book_within_lap(perf_counter() - started_at, COMPILE)

    on_compile_start(started)
    on_compile_end(ended)
    try:
        yield
    finally:
        with suppress(ValueError):  # torch._dynamo.reset() forgets them
            callback_handler.remove_start_callback(started)
            callback_handler.remove_end_callback(ended)
