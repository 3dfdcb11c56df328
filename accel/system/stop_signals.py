"""SIGTERM and SIGINT during a run: they ask it to stop, and it stops where nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self, TypeVar

from accel.errors import Interrupted

__all__ = ["STOP_SIGNALS", "TORCHRUN_VARIABLE", "Item", "StopSignals", "WaitPoint"]

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TORCHRUN_VARIABLE = "TORCHELASTIC_RUN_ID"
Item = TypeVar("Item")


class WaitPoint:
    """The place where a wait begins, and whether it can be gone back to. This plainest one always can."""

    def save(self) -> None:
        """Save the state at the begin of a wait."""

    def completed(self) -> None:
        """Note that the wait is over and has brought its item."""

    def can_restore(self) -> bool:
        """Return whether giving the wait up leaves everything as it was. It is called in the middle of a wait."""
        return True


class StopSignals:
    """Signal handlers that set `requested` and do nothing else, while the block runs; afterwards the handlers from before are back.

    A second SIGINT stops at once (KeyboardInterrupt). A request that a run does not heed, because it was done first, is raised
    again for the handlers from before. In any thread but the main one, where Python has no signals, nothing is ever requested.

    Args:
        at_once: raise Interrupted as soon as a signal comes, while a stop could spoil nothing. Code that must not be cut in two
            sets `immediate` to False first.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.immediate = at_once
        self.requested: signal.Signals | None = None
        """The first signal that came."""
        self.wait_point = WaitPoint()
        """The state that an immediate stop goes back to."""
        self.interrupted = False
        """Whether a signal has ended a wait of `interruptible`."""
        self.outer_handlers: dict[signal.Signals, Any] = {}
        # under torchrun one Ctrl-C comes twice: from the terminal to every process, and from torchrun to its own
        self.interrupts_left = 2 if TORCHRUN_VARIABLE in os.environ else 1
        self.pid = os.getpid()

    @property
    def name(self) -> str:
        """The name of the signal that asked for a stop, in words."""
        return self.requested.name if self.requested else "a signal to another rank"

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):  # None is a handler that Python cannot put back; nohup wants none
                    self.outer_handlers[number] = before
                    outer = getattr(before, "__self__", None)
                    if isinstance(outer, StopSignals):
                        self.requested = self.requested or outer.requested
                    signal.signal(number, self.handle)
            if self.requested and self.immediate:
                self.restore_handlers()
                raise Interrupted(self.requested.name)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.restore_handlers()
        if self.requested and kind is None:
            signal.raise_signal(self.requested)

    def interruptible(self, items: Iterator[Item], wait_point: WaitPoint | None = None) -> Iterator[Item]:
        """Yield the items until a signal comes, which sets `interrupted`; a signal during a wait for an item does not wait for it.

        The signal is raised in the middle of the wait, as Python raises KeyboardInterrupt: `items` cannot be read further then.
        Only waits in Python notice it.

        Args:
            items: an iterator that nobody has read from before.
            wait_point: the state to go back to.

        Yields:
            The items, none of which is referenced here meanwhile.
        """
        self.wait_point = wait_point or WaitPoint()
        while True:
            self.wait_point.save()
            try:
                try:
                    self.immediate = True
                    if self.requested:
                        raise Interrupted(self.requested.name)
                    item = [next(items)]
                finally:
                    self.immediate = False  # a signal may come before this is done, and raises here
            except StopIteration:
                return
            except Interrupted:
                self.interrupted = True
                return
            self.wait_point.completed()
            yield item.pop()  # nothing here holds it meanwhile

    def restore_handlers(self) -> None:
        """Put the signal handlers from before back."""
        for number, before in self.outer_handlers.items():
            signal.signal(number, before)
        self.outer_handlers.clear()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note a signal: the handler of `STOP_SIGNALS`.

        Raises:
            KeyboardInterrupt: at the second SIGINT (the third under torchrun).
            Interrupted: if a stop can be made at once.
        """
        if os.getpid() != self.pid:  # a worker process of a loader keeps the handler that its fork copied
            if number == signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT:
            self.interrupts_left -= 1
        self.requested = self.requested or signal.Signals(number)
        if self.interrupts_left < 0:
            raise KeyboardInterrupt
        if self.immediate and self.wait_point.can_restore():
            self.immediate = False  # once: the exception passes through code that cleans up
            raise Interrupted(self.requested.name)
