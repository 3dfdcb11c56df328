"""SIGTERM and SIGINT while a run is on: they ask it to stop, and it stops where nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self, TypeVar

from accel.errors import Interrupted

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
TORCHRUN_VARIABLE = "TORCHELASTIC_RUN_ID"
Item = TypeVar("Item")


class WaitPoint:
    """Where a wait begins, and whether it can be gone back to; plainest: it always can."""

    def save(self) -> None:
        """A wait begins."""

    def completed(self) -> None:
        """It is over, and what was waited for is there."""

    def can_restore(self) -> bool:
        """Whether giving the wait up leaves everything as it was. Asked in the midst of it."""
        return True


class StopSignals:
    """Inside, a signal sets `asked` and does nothing else; before and after, whoever had the signals has them.

    A second SIGINT stops at once (KeyboardInterrupt). What a run does not come to heed, because it was done first, is heard by
    whoever has the signals afterwards. In any thread but the main one, where Python has no signals, nothing ever asks.

    Args:
        at_once: raise Interrupted as soon as a signal comes, while nothing is done that a stop could spoil. Whoever begins what
            must not be cut in two sets it to False.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.immediate = at_once
        self.requested: signal.Signals | None = None
        """The first signal that came."""
        self.wait_point = WaitPoint()
        """Where `at_once` would leave things."""
        self.interrupted = False
        """Whether a signal has ended what `each` waited for."""
        self.outer_handlers: dict[signal.Signals, Any] = {}
        # under torchrun one Ctrl-C comes twice: from the terminal to every process, and from torchrun to its own
        self.interrupts_left = 2 if TORCHRUN_VARIABLE in os.environ else 1
        self.pid = os.getpid()

    @property
    def name(self) -> str:
        """What asked, in words."""
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

    def interruptible(self, items: Iterator[Item], place: WaitPoint | None = None) -> Iterator[Item]:
        """The same items, until a signal comes (`cut`); one that comes while an item is waited for does not wait for it.

        It is raised in the midst of the waiting, wherever that is, as Python raises KeyboardInterrupt: `items` cannot be gone on
        with. Only what waits in Python hears of it.

        Args:
            items: nobody has read from them before.
            place: what to go back to.
        """
        self.wait_point = place or WaitPoint()
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
        """Gives the signals back."""
        for number, before in self.outer_handlers.items():
            signal.signal(number, before)
        self.outer_handlers.clear()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """A signal has come."""
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
            self.immediate = False  # once: what it raises leads through code that ends things
            raise Interrupted(self.requested.name)
