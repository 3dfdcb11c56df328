from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.device.async_readback import AsyncReadback
from accel.parts.shared.trackers.line_log import valid_length
from accel.plugins.amp import AMP
from accel.plugins.metrics import Metrics, position
from accel.plugins.onecycle import OneCycle
from accel.testing import fit_toy
from tests.support.drill_length import LONG

FP16 = {"dtype": "float16", "force": True}


def refuse(text: str) -> None:
    raise AssertionError(f"{text} is not JSON")


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=refuse) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("every", [1, 4, 64])
def test_a_line_for_each_update_and_each_evaluation(every: int, tmp_path: Path) -> None:
    run = fit_toy([Metrics(every=every), OneCycle(max_lr=0.1)], out=tmp_path / "run")
    updates = [row for row in rows(tmp_path / "run") if "lr" in row]
    evaluations = [row for row in rows(tmp_path / "run") if "lr" not in row]

    assert torch.equal(torch.tensor([row["loss"] for row in updates]), torch.stack(run.losses)), "to the last bit of a float32"
    assert [row["update"] for row in updates] == list(range(1, 13))
    assert [row["epoch"] for row in updates] == [1] * 6 + [2] * 6
    assert [row["samples"] for row in updates] == [4, 8, 12, 16, 20, 22, 26, 30, 34, 38, 42, 44]
    schedule = run.spy.run.parts.schedule
    assert [row["lr"] for row in updates] == pytest.approx([schedule.lr(step) for step in range(12)], rel=1e-8)
    assert list(updates[0]) == ["update", "epoch", "loss", "lr", "samples"]

    assert [(row["update"], row["epoch"]) for row in evaluations] == [(6, 1), (12, 2)]
    assert evaluations[-1]["val_loss"] == run.metrics["loss"]
    order = [row["update"] for row in rows(tmp_path / "run")]
    assert order == sorted(order), "each evaluation follows the updates before it"


@pytest.mark.parametrize("every", [1, pytest.param(4, marks=pytest.mark.draws), 64])
@pytest.mark.parametrize("stop", [3, 5, 7, 11] if LONG else [5, 7])
@pytest.mark.slow
def test_the_file_of_a_resumed_run_is_that_of_an_uninterrupted_one(every: int, stop: int, tmp_path: Path) -> None:
    plugins = [OneCycle(max_lr=0.1), AMP(**FP16)]

    def metrics() -> Metrics:
        return Metrics(every, curves=every == 4, report=False)

    fit_toy([metrics(), *plugins], out=tmp_path / "whole", checkpoint_every=2, overflow=[3])
    fit_toy([metrics(), *plugins], out=tmp_path / "part", checkpoint_every=2, overflow=[3], stop=stop)
    with (tmp_path / "part/metrics.jsonl").open("a") as file:
        file.write('{"update": 12, "epoch": 2, "lo')  # what a kill in the middle of a write leaves
    # at update 7 that is the checkpoint made before the evaluation of the first epoch, which is then made twice
    checkpoint = sorted((tmp_path / "part/checkpoints").glob("*-0000.pt" if stop == 7 else "*.pt"))[-1]
    done = stop - 1
    assert f"update-{done:08}" in checkpoint.name

    fit_toy([metrics(), *plugins], resume=checkpoint, checkpoint_every=2, overflow=[3 - done])

    for name in ("metrics.jsonl", "curves.svg") if every == 4 else ("metrics.jsonl",):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_belongs_to_the_run_so_far() -> None:
    updates = [b'{"update": %d, "lr": 1}\n' % update for update in (1, 2, 3)]
    lines = [*updates[:2], b'{"update": 2, "val_loss": 1}\n', updates[2]]
    data = b"".join(lines)
    ends = [len(b"".join(lines[:count])) for count in range(5)]
    assert valid_length(data, 0, evaluated=True, position=position) == 0
    assert valid_length(data, 1, evaluated=False, position=position) == ends[1]
    assert valid_length(data, 2, evaluated=False, position=position) == ends[2], "the evaluation is made again, and written again"
    assert valid_length(data, 2, evaluated=True, position=position) == ends[3]
    assert valid_length(data + b'{"upd', 3, evaluated=False, position=position) == ends[4], "a torn line is none"
    assert valid_length(data, 9, evaluated=False, position=position) == ends[4]
    assert valid_length(b"", 9, evaluated=False, position=position) == 0
    for odd in (bytes(4096), b"what an editor left", b"[1]", b'{"update": "2"}', b"\xff"):
        kept = valid_length(data + odd + b"\n", 9, evaluated=False, position=position)
        assert kept == ends[4], "what is no line of ours is cut off"


def test_a_checkpoint_finds_every_update_on_the_disk(tmp_path: Path) -> None:
    out = tmp_path / "run"
    fit_toy([Metrics()], out=out, checkpoint_every=4, stop=5)
    assert [row["update"] for row in rows(out)][:4] == [1, 2, 3, 4]


def test_a_fresh_run_does_not_go_on_with_an_old_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"update": 1, "epoch": 1, "loss": 9.0, "lr": 9.0, "samples": 9}\n' * 3)
    fit_toy([Metrics()], out=tmp_path)
    assert 9.0 not in [row.get("loss") for row in rows(tmp_path)]


def test_skipped_updates_and_numbers_that_json_lacks(tmp_path: Path) -> None:
    fit_toy([Metrics(every=4), AMP(**FP16)], out=tmp_path, overflow=[3, 8])
    updates = [row for row in rows(tmp_path) if "lr" in row]
    assert [row["skipped"] for row in updates] == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert [row["update"] for row in updates if row["loss"] is None] == [3, 8]


def test_evaluations_that_are_not_finite_are_null(tmp_path: Path) -> None:
    from accel.trainer import Trainer

    class Diverged(Trainer):
        def metrics(self, model: Any, batch: Any) -> dict[str, Any]:
            return {"loss": torch.tensor(nan), "gain": inf, "fine": 1.0}

    data = [(torch.ones(2, 3), torch.ones(2, 1))]
    Diverged(
        torch.nn.Linear(3, 1), data, data, lambda model, batch: model(batch[0]).mean(), watch=["metrics"], out=tmp_path
    ).fit()  # fmt: skip
    assert rows(tmp_path)[-1] == {"update": 1, "epoch": 1, "val_loss": None, "val_gain": None, "val_fine": 1.0}


def test_no_directory_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit_toy([Metrics()])
    fit_toy([Metrics()], out=tmp_path / "run", dry_run=True)
    assert not list(tmp_path.iterdir())


def test_without_curves(tmp_path: Path) -> None:
    fit_toy([Metrics(curves=False)], out=tmp_path)
    assert not (tmp_path / "curves.svg").exists()


def test_drawing_is_part_of_the_time(tmp_path: Path) -> None:
    fit_toy([Metrics()], out=tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert sum(summary["shares"].values()) == pytest.approx(100)
    assert summary["shares"]["other"] > 0


def test_nothing_is_read_on_the_host(tmp_path: Path) -> None:
    run = fit_toy([Metrics(every=2), AMP(**FP16), "adamw"], out=tmp_path, overflow=[3], counts=True)
    assert run.spy.reads.count == 0, run.spy.reads.places
    assert len(rows(tmp_path)) == 14, "and yet it has arrived"


def test_the_mailbox_hands_out_each_row_once() -> None:
    box = AsyncReadback(2, torch.device("cpu"))
    assert box.poll() is None
    box.slots[0].copy_(torch.tensor(1.5))
    assert box.start()
    box.slots[0].copy_(torch.tensor(2.5))
    assert not box.start(), "the row under way is kept"
    assert box.poll() == [1.5, 0.0]
    assert box.poll() is None
    assert box.start()
    assert box.poll(wait=True) == [2.5, 0.0]
