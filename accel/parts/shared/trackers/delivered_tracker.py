"""Base of the trackers that cannot forget a point: they are handed those that a checkpoint holds, in a thread, from a journal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.parts.shared.trackers.delivery import Delivery
from accel.parts.shared.trackers.delivery_record import DeliveryRecord
from accel.parts.shared.trackers.journal import journal_line, journal_position
from accel.parts.shared.trackers.line_log import reopen
from accel.parts.shared.trackers.line_tracker import LineTracker
from accel.parts.shared.trackers.run_description import RunDescription
from accel.parts.shared.trackers.tracker import Point
from accel.system.call_stack import warn_user
from accel.values import NonNegative, to_plain

if TYPE_CHECKING:
    from accel.parts.run import Run

__all__ = ["FOLDER", "GRACE", "LEAST_PATIENCE", "DeliveredTracker"]

FOLDER = "trackers"
GRACE = 1.0
"""Seconds that a thread has to end which has been given up."""
LEAST_PATIENCE = 5.0
"""Seconds that a run waits which a signal or an error ends."""


@dataclass(eq=False)
class DeliveredTracker(LineTracker):
    """Tracker that hands its points to another program, with the settings of `Tracker`. A subclass is a `Receiver` too.

    A point is handed over when a checkpoint that holds it is on the disk: a resumed run never makes it again. A run that goes on
    from an earlier checkpoint than it has handed over begins another run of the tracker, with all points up to there.

    Args:
        patience: seconds that the end of a run waits for the other program, at most; the training never does.
    """

    patience: NonNegative = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.delivery: Delivery | None = None
        self.summary: dict[str, Any] = {}
        """Numbers and words of the result, by name, of a run that is done."""
        self.exit_code = 1
        """0 if the run is done."""

    def prepare(self) -> None:
        """Import what `connect` needs: before any thread runs, as a worker that is forked during an import may wait for ever."""
        raise NotImplementedError

    def can_resume(self, run: str) -> bool:
        return True

    def connect(self, run: str, left: str) -> bool:
        raise NotImplementedError

    def lacking(self, points: list[Point]) -> list[Point]:
        raise NotImplementedError

    def send(self, points: list[Point]) -> None:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError

    def give_up(self) -> None:
        """End what still tries to hand over: the run does not wait any longer. Called beside the thread that waits."""

    def place(self) -> str:
        """Return where the curves are, or how they are looked at, in words; empty if nobody knows yet."""
        return ""

    def open(self, run: Run) -> None:
        assert run.out is not None
        folder = run.out / FOLDER
        folder.mkdir(exist_ok=True)
        path, record_path = folder / f"{self.name}.jsonl", folder / f"{self.name}.json"
        waiting = self.waiting.encode()
        self.log = reopen(path, journal_position, run.progress.step, run.is_evaluated, waiting)
        self.log.flush()
        self.description = RunDescription.of(run)
        self.prepare()
        record = DeliveryRecord.read(record_path).resumed(self.log.size) if run.progress.step else DeliveryRecord()
        self.delivery = Delivery(self, path, record_path, record, self.log.size)
        self.delivery.start()

    def write(self, point: Point) -> None:
        assert self.log is not None
        self.log.write(journal_line(point))

    def state_dict(self) -> dict[str, Any]:
        """Return the lines that a full disk did not take, and the bytes of the journal that it did."""
        state = super().state_dict()
        return state if self.log is None else {**state, "length": self.log.size}

    def saved(self, state: Mapping[str, Any]) -> None:
        if self.delivery is not None:
            self.delivery.release(int(state.get("length", 0)))

    def completed(self, result: Any) -> None:
        if self.delivery is None or self.log is None:
            return
        self.summary, self.exit_code = flat_summary(result.summary()), 0
        with self.run.clock.stopped():
            self.log.sync()
            problem = self.end_delivery(self.patience, self.log.size)
        if problem:
            result.remarks.append(self.undelivered(problem))
        elif place := self.place():
            result.remarks.append(f"{self.name}: {place}")

    def shut(self) -> None:
        if self.delivery is not None:  # the run ends early: nobody is to wait long for what a resumed run does as well
            is_failing = sys.exception() is not None
            problem = self.end_delivery(min(self.patience, LEAST_PATIENCE) if is_failing else self.patience)
            if problem and not is_failing:
                warn_user(self.undelivered(problem))
        super().shut()

    def end_delivery(self, seconds: float, length: int | None = None) -> str:
        """End the thread (`Delivery.end`). Return why not all is handed over; empty if it is."""
        assert self.delivery is not None
        delivery, self.delivery = self.delivery, None
        problem = delivery.end(seconds, length)
        if delivery.thread.is_alive():
            self.give_up()
            delivery.thread.join(GRACE)
        return problem

    def undelivered(self, problem: str) -> str:
        """Return a sentence on points that were not handed over."""
        assert self.log is not None
        file = self.file_name(self.log.path)
        return f"{self.name} has not taken all points ({problem}); {file} has them, and a resumed run hands them over"


def flat_summary(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers, words and answers of a result's summary, those of a dict as `NAME.INNER`, and no lists."""
    flat: dict[str, Any] = {}
    for name, value in to_plain(dict(summary)).items():
        if isinstance(value, dict) and name not in ("sections", "unsaved", "provenance"):
            flat |= {f"{name}.{inner}": number for inner, number in value.items() if isinstance(number, str | int | float)}
        elif isinstance(value, str | int | float) and name != "schema":
            flat[name] = value
    return flat
