"""Generations: several trainings, each taught by the one before."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import accel
from accel import Trainer
from accel.compress.distillation.load_teachers import load_teachers
from accel.errors import ConfigError, RunDirectoryTaken
from accel.plugins.distill import Distill
from accel.plugins.ema import EMA
from accel.testing.toy_run import Spy, Stop
from tests.support.points_task import Points


def born_again(generations: int = 2, *plugins: Any, **run: Any) -> Any:
    plugin = Distill(teacher="self", generations=generations)
    settings = {"epochs": 2, "batch_size": 16, "watch": (), "device": "cpu", "seed": 1} | run
    return Points(plugins=[plugin, *plugins], **settings).fit()


def weights(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(map(torch.equal, weights(one), weights(other)))


def test_each_learns_from_the_one_before_in_runs_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "run"
    last = born_again(out=out)
    assert sorted(path.name for path in (out / "generations").iterdir()) == ["0", "1"]
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 16, "watch": (), "device": "cpu"}
    first = Points(**settings, seed=3).fit()
    assert equal(accel.load(out / "generations" / "0"), first.model)
    second = Points(**settings, plugins=[Distill(teacher=str(out / "generations" / "0"))], seed=2).fit()
    assert equal(accel.load(out / "generations" / "1"), second.model)
    third = Points(**settings, plugins=[Distill(teacher=str(out / "generations" / "1"))], seed=1).fit()
    assert equal(last.model, third.model)
    assert equal(last.model, accel.load(out))
    with pytest.raises(RunDirectoryTaken, match=r"holds generations of a run already; go on with them by resume=auto out="):
        born_again(out=out)


def test_by_its_name_alone_the_plugin_trains_its_teacher_first() -> None:
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 16, "watch": (), "device": "cpu", "seed": 1}
    assert equal(Points(**settings, plugins=["distill"]).fit().model, born_again(1, epochs=1).model)


def test_without_a_directory_they_are_the_same(tmp_path: Path) -> None:
    assert equal(born_again(1).model, born_again(1, out=tmp_path / "run").model)


@pytest.mark.parametrize("generation", [0, 1, 2])
def test_a_run_that_was_stopped_in_any_of_them_goes_on_to_the_same_bits(generation: int, tmp_path: Path) -> None:
    whole = born_again(2, EMA(decay=0.5), out=tmp_path / "whole")
    out = tmp_path / "part"
    begun = iter(range(3))

    class StopIn(Spy):
        def begin(self, run: Any) -> None:
            super().begin(run)
            self.stop = 6 if next(begun) == generation else 0

    with pytest.raises(Stop):
        born_again(2, EMA(decay=0.5), StopIn(), out=out)
    done = out / "generations" / "0" / "summary.json"
    time = done.stat().st_mtime_ns if generation else 0
    resumed = born_again(2, EMA(decay=0.5), out=out, resume=("auto", str(out))[generation % 2])
    assert equal(resumed.model, whole.model)
    assert not generation or done.stat().st_mtime_ns == time, "what is finished is not trained again"


def test_a_module_begins_anew_in_each() -> None:
    net = nn.Linear(2, 2)
    before = net.weight.detach().clone()
    data = torch.utils.data.TensorDataset(torch.randn(32, 2), torch.arange(32) % 2)
    loss: Any = lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])  # noqa: E731
    settings: dict[str, Any] = {"loss": loss, "watch": (), "device": "cpu", "epochs": 1, "seed": 1}
    result = Trainer(net, data, plugins=[Distill(teacher="self", generations=1)], **settings).fit()
    assert torch.equal(net.weight, before), "the generations are copies of it"
    teacher, student = nn.Linear(2, 2), nn.Linear(2, 2)
    for copy in (teacher, student):
        copy.load_state_dict(net.state_dict())
    Trainer(teacher, data, **(settings | {"seed": 2})).fit()
    Trainer(student, data, plugins=[Distill(teacher=teacher)], **settings).fit()
    assert equal(result.model, student)


def test_a_dry_run_makes_them_all_and_writes_nothing(tmp_path: Path) -> None:
    assert born_again(1, out=tmp_path / "run", dry_run=True).updates == 1
    assert not (tmp_path / "run").exists()


def test_it_is_for_a_training_alone() -> None:
    with pytest.raises(ConfigError, match=r"distill\.teacher=self trains a teacher first, in a whole training alone"):
        load_teachers(None, ["self"], None, None)  # type: ignore[arg-type]
