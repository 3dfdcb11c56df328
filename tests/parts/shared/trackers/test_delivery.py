"""What is handed over, and when: nothing that a checkpoint does not hold, nothing twice, nothing left out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import isnan, nan
from pathlib import Path
from typing import Any

import pytest

from accel.parts.shared.trackers import delivery as delivery_module
from accel.parts.shared.trackers.delivered_tracker import DeliveredTracker
from accel.parts.shared.trackers.delivery import Delivery
from accel.parts.shared.trackers.delivery_record import DeliveryRecord
from accel.parts.shared.trackers.journal import journal_line, read_points, whole_updates
from accel.parts.shared.trackers.tracker import Point
from accel.testing import fit_toy

POINTS = [Point(step, float(step), {"train/loss": 1.0 / step}) for step in range(1, 5)]
POINTS.insert(2, Point(2, 2.5, {"val/loss": nan}, evaluation=True))
LINES = [journal_line(point) for point in POINTS]
ENDS = [sum(map(len, LINES[: count + 1])) for count in range(len(LINES))]


@dataclass
class Kept:
    """Receiver that keeps what it is sent; the first `refusals` calls of send fail after half of it."""

    keeps: bool = True
    refusals: int = 0
    points: list[Point] = field(default_factory=list)
    asked: int = 0
    is_finished: bool = False

    def can_resume(self, run: str) -> bool:
        return True

    def connect(self, run: str, left: str) -> bool:
        self.run = run
        return self.keeps

    def lacking(self, points: list[Point]) -> list[Point]:
        self.asked += 1
        return [point for point in points if point.step not in [known.step for known in self.points]]

    def send(self, points: list[Point]) -> None:
        if self.refusals:
            self.refusals -= 1
            self.points += points[: len(points) // 2]
            raise ConnectionError("away")
        self.points += points

    def finish(self) -> None:
        self.is_finished = True


def journal(folder: Path) -> Path:
    path = folder / "tracker.jsonl"
    path.write_bytes(b"".join(LINES))
    return path


def deliver(folder: Path, receiver: Kept, released: int, everything: bool, record: DeliveryRecord | None = None) -> tuple[str, Any]:
    """What is missing at the end, and the record that is on the disk."""
    path = folder / "tracker.json"
    delivery = Delivery(receiver, journal(folder), path, record or DeliveryRecord(), 0)
    delivery.start()
    delivery.release(released)
    problem = delivery.end(30.0, ENDS[-1] if everything else None)
    return problem, DeliveryRecord.read(path)


def test_the_last_update_waits_for_its_evaluation(tmp_path: Path) -> None:
    for released, steps in ((ENDS[0], []), (ENDS[1], [1]), (ENDS[2], [1]), (ENDS[3], [1, 2])):
        receiver = Kept()
        problem, record = deliver(tmp_path, receiver, released, everything=False)
        assert (problem, [point.step for point in receiver.points]) == ("", steps)
        assert record.received == record.handed <= released
        assert receiver.is_finished


def test_an_update_and_its_evaluation_are_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1, 2, 500):
        monkeypatch.setattr(delivery_module, "CHUNK", chunk)
        receiver = Kept()
        problem, record = deliver(tmp_path, receiver, ENDS[0], everything=True)
        assert (problem, record.received) == ("", ENDS[-1])
        assert [point.step for point in receiver.points] == [1, 2, 3, 4]
        assert set(receiver.points[1].values) == {"train/loss", "val/loss"}
        assert isnan(receiver.points[1].values["val/loss"])


def test_what_may_have_arrived_is_asked_for(tmp_path: Path) -> None:
    receiver = Kept(points=[POINTS[0], POINTS[1]])
    problem, record = deliver(tmp_path, receiver, ENDS[-1], True, DeliveryRecord("0a1b2c3d", handed=ENDS[3], received=ENDS[0]))
    assert (problem, receiver.run, receiver.asked) == ("", "0a1b2c3d", 1)
    assert [point.step for point in receiver.points] == [1, 2, 3, 4]
    assert record.received == ENDS[-1]


def test_a_tracker_that_has_lost_the_run_gets_all_again(tmp_path: Path) -> None:
    receiver = Kept(keeps=False)
    problem, _ = deliver(tmp_path, receiver, ENDS[-1], True, DeliveryRecord("0a1b2c3d", handed=ENDS[3], received=ENDS[3]))
    assert (problem, receiver.asked, [point.step for point in receiver.points]) == ("", 0, [1, 2, 3, 4])


def test_what_fails_is_tried_again_and_doubles_nothing(tmp_path: Path) -> None:
    receiver = Kept(refusals=1)
    problem, _ = deliver(tmp_path, receiver, ENDS[-1], everything=True)
    assert (problem, [point.step for point in receiver.points]) == ("", [1, 2, 3, 4])
    receiver = Kept(refusals=9)
    problem, record = deliver(tmp_path, receiver, ENDS[-1], everything=True)
    assert problem == "ConnectionError: away"
    assert record.received < record.handed


def test_a_journal_that_was_cut_off_behind_what_was_handed_over_begins_another_run(tmp_path: Path) -> None:
    record = DeliveryRecord("0a1b2c3d", handed=100, received=90)
    assert record.resumed(100) == record
    assert record.resumed(99) == DeliveryRecord(left="0a1b2c3d")
    for damage in ("", "[]", "{}", json.dumps({"run": 1}), json.dumps(vars(record) | {"received": 101})):
        (tmp_path / "record.json").write_text(damage)
        assert DeliveryRecord.read(tmp_path / "record.json") == DeliveryRecord()


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    points, ends = read_points(journal(tmp_path), 0, ENDS[-1], 500)
    assert (str(points), ends) == (str(POINTS), ENDS)
    assert [point.step for point in whole_updates(points)] == [1, 2, 3, 4]


def test_a_checkpoint_releases_what_it_holds_and_no_more(tmp_path: Path) -> None:
    class Keeper(DeliveredTracker):
        def prepare(self) -> None:
            self.kept = Kept()
            self.connect, self.send, self.finish = self.kept.connect, self.kept.send, self.kept.finish  # type: ignore[method-assign]

    tracker = Keeper(every=1)
    fit_toy([tracker], out=tmp_path, checkpoint_every=4, stop=11)
    assert [point.step for point in tracker.kept.points] == list(range(1, 8)), "8 is in the last checkpoint, and is the last there"
    tracker.delivery = Delivery(tracker.kept, journal(tmp_path), tmp_path / "record.json", DeliveryRecord(), 0)
    tracker.saved({"length": ENDS[1]})
    assert tracker.delivery.released == ENDS[1]
