"""The metrics of the weights that a run keeps are those of the run, bit for bit, whatever its plugins are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.checkpoints import FOLDER
from accel.checkpoints.retention import names
from accel.checkpoints.weights.find_weights import find_weights
from accel.engine.loading.evaluate_saved import TRAINING_ONLY, Evaluation, evaluate_saved
from accel.engine.loading.task_record import TaskRecord
from accel.errors import ConfigError
from accel.parts import Part, Parts
from accel.plugins import (
    AMP,
    EMA,
    OOM,
    SGD,
    Accumulate,
    AdamW,
    Average,
    ChannelsLast,
    Clip,
    Cosine,
    EarlyStop,
    FiniteGuard,
    MasterWeights,
    Prefetch,
    Resident,
    ScheduleFree,
)  # fmt: skip
from tests.support.points_task import Points
from tests.support.toy_gan import Gan

pytestmark = [
    pytest.mark.filterwarnings("ignore:schedule_free. the running statistics of BatchNorm", "ignore:.*this CPU has no bfloat16"),
    pytest.mark.filterwarnings("ignore:channels_last has no effect", "ignore:early_stop"),
]
RUN: dict[str, Any] = {"epochs": 2, "batch_size": 16, "device": "cpu", "watch": (), "checkpoint_keep": 9}
PLUGINS: dict[str, Callable[[], list[Part]]] = {
    "plain": list, "average": lambda: [SGD(lr=1.0), EMA(decay=0.5)], "schedule free": lambda: [ScheduleFree(lr=0.5)],
    "snapshots": lambda: [SGD(lr=1.0), Average(last=2)],
    "masters and an average": lambda: [MasterWeights(), EMA(decay=0.5), AdamW(lr=0.1)],
    "amp": lambda: [AMP(), ChannelsLast()], "read ahead": lambda: [Prefetch()],
    "resident": lambda: [Resident()], "in little memory": lambda: [OOM()],
    "what only training needs": lambda: [Accumulate(steps=2), Cosine(warmup=2), Clip(), EarlyStop(metric="loss"), FiniteGuard()],
}  # fmt: skip


def evaluated(run: Path, which: str | None = None, task: Points | None = None, **settings: Any) -> Evaluation:
    """The weights of a run, evaluated by the task of a process that knows nothing of it."""
    task = Points(**{**RUN, **settings}) if task is None else task
    return evaluate_saved(task._request(), find_weights(run, which), TaskRecord.read(run))


@pytest.mark.parametrize("plugins", PLUGINS)
def test_every_checkpoint_has_the_metrics_that_the_run_had(plugins: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    torch.manual_seed(5)
    result = Points(**RUN, out=run, plugins=PLUGINS[plugins]()).fit()
    rows = [{name: value for name, value in row.items() if name != "epoch"} for row in result.history]
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    torch.manual_seed(6)  # the metrics draw random numbers, and do not draw these
    for name, row in zip(names(run / FOLDER), rows, strict=True):
        assert evaluated(run, name, plugins=PLUGINS[plugins]()).metrics == row
    last = evaluated(run, plugins=PLUGINS[plugins]())
    assert last == Evaluation(rows[-1], "val", {"val": 64})
    assert files == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}, "nothing is written"


def test_the_training_data_is_not_asked_for(tmp_path: Path) -> None:
    Points(**RUN, out=tmp_path / "run").fit()

    class Held(Points):
        def data(self, split: str) -> Any:
            assert split != "train"
            return super().data(split)

    assert evaluated(tmp_path / "run", task=Held(**RUN)).samples == {"val": 64}


def test_intervals_that_fit_no_longer_do_not_matter(tmp_path: Path) -> None:
    Points(**RUN, out=tmp_path / "run").fit()
    settings = {"evaluate_every": 1000, "checkpoint_best": "accuracy", "allow": ["task"], "drop_last": True, "resume": "auto"}
    assert evaluated(tmp_path / "run", out=tmp_path / "run", **settings).metrics == evaluated(tmp_path / "run").metrics
    two = evaluated(tmp_path / "run", evaluate_batches=2)
    assert two.metrics["accuracy"] != evaluated(tmp_path / "run").metrics["accuracy"]


def test_no_held_out_data_is_refused(tmp_path: Path) -> None:
    class Blind(Points):
        def data(self, split: str) -> Any:
            return super().data(split) if split == "train" else None

    Points(**RUN, out=tmp_path / "run").fit()
    with pytest.raises(ConfigError, match="there is no held-out data"):
        evaluated(tmp_path / "run", task=Blind(**RUN))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Points(**RUN, out=run).fit()
    record = json.loads((run / "task.json").read_text())
    for metadata, words in (
        ({"classes": ["left", "up"]}, "the classes of the data are not those of the run: up missing; right new to it"),
        ({"classes": ["right", "left"]}, "they have another order"),
        ({"classes": 3}, r"the data of the run had classes=3, and this has classes=\['left', 'right'\]"),
    ):
        (run / "task.json").write_text(json.dumps({**record, "metadata": metadata}))
        with pytest.raises(ConfigError, match=words):
            evaluated(run)
    (run / "task.json").unlink()
    evaluated(run)


def test_without_checkpoints_the_weights_are_enough(tmp_path: Path) -> None:
    run = tmp_path / "run"
    row = Points(**RUN, out=run).fit().metrics
    for file in (run / FOLDER).iterdir():
        file.unlink()
    metrics = evaluated(run).metrics
    assert metrics["excess"] != row["excess"], "what the loss remembered is in the checkpoints alone"
    assert metrics["loss"] == pytest.approx(row["loss"], abs=0.3)


def test_what_differs_from_the_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Points(**RUN, out=tmp_path / "run").fit()
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 3)
    (remark,) = evaluated(tmp_path / "run").remarks
    assert remark == f"threads was {threads} and is {threads + 3}: the last bits may differ from the run's own evaluation"


def test_parts_that_are_left_out_are_no_part_of_an_evaluation() -> None:
    kept = {type(part) for part in Parts().all()} - set(TRAINING_ONLY)
    assert {part.__name__ for part in kept} == {
        "Backend", "Source", "Loader", "Prefetch", "Transfer", "Folding", "Layout", "Compile", "Parallel", "Precision", "Update",
    }  # fmt: skip


def test_several_optimisers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = Gan(every=1, out=run, epochs=1, device="cpu", watch=(), plugins=["adamw"]).fit()
    task = Gan(every=1, device="cpu", watch=(), plugins=["adamw"])
    for which in ("last", names(run / FOLDER)[-1]):
        evaluation = evaluate_saved(task._request(), find_weights(run, which), TaskRecord.read(run))
        assert evaluation.metrics == result.metrics
    averaged = tmp_path / "averaged"
    Gan(every=1, own=["schedule_free"], out=averaged, epochs=1, device="cpu", watch=()).fit()
    with pytest.raises(ConfigError, match=r"several optimisers, and an average of weights; name a .safetensors file"):
        evaluate_saved(task._request(), find_weights(averaged, names(averaged / FOLDER)[-1]), None)
