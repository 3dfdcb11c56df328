"""Thread that hands a journal to a tracker, also over a network that is away: the training never waits for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from threading import Condition
from typing import Protocol

from accel.device.cuda.device_threads import DeviceThread
from accel.parts.shared.trackers.delivery_record import DeliveryRecord
from accel.parts.shared.trackers.journal import read_points, whole_updates
from accel.parts.shared.trackers.tracker import Point

__all__ = ["CHUNK", "LONGEST", "Delivery", "Receiver"]

CHUNK = 500
"""Points that are handed over at once."""
LONGEST = 60.0
"""Seconds between two tries, at most; the first is after one, and each wait is twice the one before."""


class Receiver(Protocol):
    """What takes the points. All of it is called in the thread of a `Delivery`; what it raises is tried again later."""

    def can_resume(self, run: str) -> bool:
        """Return whether the run with a key can be gone on with."""
        ...

    def connect(self, run: str, left: str) -> bool:
        """Connect. Return whether the tracker still has what it was handed; else all is handed again.

        Args:
            run: the key of the run, 8 hexadecimal digits, by which it is found again.
            left: that of a run which has points that were withdrawn, to be marked; empty for none.
        """
        ...

    def lacking(self, points: list[Point]) -> list[Point]:
        """Return what the tracker lacks, of points that it may or may not have."""
        ...

    def send(self, points: list[Point]) -> None:
        """Take one point for each update, in order."""
        ...

    def finish(self) -> None:
        """End the run. Nothing is sent after it."""
        ...


class Delivery:
    """Thread that hands over the lines of a journal, as far as they have been released.

    The last update that was released is kept back: an evaluation may follow. The record says how far points were handed over,
    before they are, and how far they were received, after it. Of those in between, the receiver says which it lacks.

    Args:
        receiver: takes the points.
        journal: the file.
        path: the file of the record.
        record: of this run.
        start: the bytes of the journal that are certain already.
    """

    def __init__(self, receiver: Receiver, journal: Path, path: Path, record: DeliveryRecord, start: int) -> None:
        self.receiver, self.journal, self.path, self.record = receiver, journal, path, record
        self.condition = Condition()
        self.released = start
        self.is_closing, self.ends_all, self.is_abandoned = False, False, False
        """Whether the run is over; whether no point follows those that are released; and whether nobody waits any longer."""
        self.problem = ""
        """Why the last try has failed; empty if it has not."""
        self.is_connected, self.is_done = False, False
        self.thread = DeviceThread(target=self.run, name="accel-tracker", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def release(self, length: int) -> None:
        """Release the journal up to `length` bytes: a checkpoint holds them."""
        with self.condition:
            self.released = max(self.released, length)
            self.condition.notify()

    def end(self, seconds: float, length: int | None = None) -> str:
        """Wait until all that is released is handed over. Return why it is not; empty if it is.

        Args:
            seconds: to wait, at most.
            length: bytes of the journal of a run that is done, which are released; None for one that may be resumed.
        """
        with self.condition:
            self.is_closing, self.ends_all = True, length is not None
            self.released = max(self.released, length or 0)
            self.condition.notify()
        self.thread.join(seconds)
        self.is_abandoned = self.thread.is_alive()
        return "" if self.is_done else self.problem or f"no answer within {seconds:g} seconds"

    def run(self) -> None:
        """Hand over, and try again after whatever fails, until the run is over and a try that began after it has failed."""
        wait, is_last = 1.0, False
        while not (is_last or self.is_abandoned):
            is_last = self.is_closing
            try:
                self.work()
                return
            except Exception as error:
                self.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            with self.condition:
                self.condition.wait_for(lambda: self.is_closing, wait)
            wait = min(2 * wait, LONGEST)

    def work(self) -> None:
        """Connect, hand over what is released, and end when the run does. Raise whatever the receiver raises."""
        if not self.is_connected:
            if not self.record.run or not self.receiver.can_resume(self.record.run):
                # before a run of the tracker is made, which a kill would orphan
                self.note(DeliveryRecord(token_hex(4), left=self.record.run or self.record.left))
            keeps = self.receiver.connect(self.record.run, self.record.left)
            self.note(self.record if keeps else replace(self.record, handed=0, received=0))
            self.is_connected = True
        seen, is_closing = -1, False
        while not is_closing:
            with self.condition:
                self.condition.wait_for(lambda: self.is_closing or self.released != seen)  # noqa: B023
                seen, is_closing = self.released, self.is_closing
            while self.hand_over(seen):
                self.problem = ""
        self.receiver.finish()
        self.is_done = True

    def hand_over(self, released: int) -> bool:
        """Hand over points up to so many bytes, not all at once; return whether there were any."""
        points, ends = read_points(self.journal, self.record.received, released, CHUNK)
        if points and ends[-1] >= released and not self.ends_all:
            points = [point for point in points if point.step != points[-1].step]
        if not points:
            return False
        end, uncertain = ends[len(points) - 1], self.record.received < self.record.handed
        whole = whole_updates(points)
        if uncertain:
            whole = self.receiver.lacking(whole)
        self.note(replace(self.record, handed=max(end, self.record.handed)))
        self.receiver.send(whole)
        self.note(replace(self.record, received=end))
        return True

    def note(self, record: DeliveryRecord) -> None:
        """Write the record. Raise OSError if the disk refuses it."""
        record.write(self.path)
        self.record = record
