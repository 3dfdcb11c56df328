"""Several objectives and compiled models have experiments too; what has none is named in a sentence, and tried all the same."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
from torch import nn

from accel import Trainer
from accel.diagnose.changes.possible_changes import possible_changes
from accel.diagnose.changes.unmeasured import WITHOUT_GPU, gpu_sentences, unmeasured_sentences
from accel.diagnose.decision.figures import Experiment, RunFigures
from accel.diagnose.decision.timing import Timing
from accel.diagnose.doctor import doctor, measured_run
from accel.diagnose.probes import experiments
from accel.diagnose.probes.experiments import run_experiments
from accel.diagnose.probes.probed_run import ProbedRun
from accel.engine.sandbox import sandbox
from accel.plugins import AdamW, Compile, LowBit
from accel.testing.toy_run import Toy
from tests.support.halved_layer import Halve
from tests.support.toy_gan import Gan


class Convolving(Toy):
    """A toy with a convolution, whose weights may be laid out in channels last."""

    def model(self) -> nn.Module:
        convolution = nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(18, 3))
        return nn.Sequential(*convolution)


FIGURES = RunFigures("cpu", 1, 1, 4, Timing.of([1.0] * 8), Timing.of([0.0] * 8), Timing.of([1.0] * 8))


def looked_at(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Experiment], list[str], list[str]]:
    """The experiments of a run, the sentences on those it has not, and the names of the changes that are possible with neither."""
    monkeypatch.setattr(experiments, "SECONDS", 0.0)
    with measured_run(trainer) as (run, _), sandbox(run) as windows:
        made = run_experiments(ProbedRun(run, windows, 0.1), inf)
        return made, unmeasured_sentences(run), [one.name for one in possible_changes(run, FIGURES)]


def toy(kind: type[Trainer], *plugins: Any, **more: Any) -> Trainer:
    return kind(plugins=plugins, watch=(), device="cpu", **more)


def test_several_objectives_are_measured_by_whole_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    made, sentences, _ = looked_at(toy(Gan, own=[AdamW()]), monkeypatch)
    assert "amp" in made
    assert made["amp"].ratio.rounds >= experiments.FEWEST
    assert sentences == ["no prediction for fused optimiser: each objective has an optimiser of its own, which the task sets"]


def test_a_model_that_changes_between_updates_is_measured_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for plugin, sentence in ((Halve(), ["measured is the model before halve changes it between updates"]), (LowBit(keep=[]), [])):
        assert looked_at(toy(Toy, plugin, AdamW()), monkeypatch)[1] == sentence


def test_a_compiled_model_is_not_compiled_anew_and_its_changes_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = toy(Convolving, Compile(backend="eager"), AdamW(fused=False), batch_size=4)
    made, sentences, possible = looked_at(trainer, monkeypatch)
    assert set(made) - {"kept_memory"} == {"fused_optimiser"}
    assert sentences == ["no prediction for amp and channels last: the model would be compiled anew for it"]
    assert {"amp", "channels_last"} <= set(possible)


def test_of_a_plain_run_everything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    made, sentences, possible = looked_at(toy(Convolving, AdamW(fused=False), batch_size=4), monkeypatch)
    assert set(made) - {"kept_memory"} == {"amp", "channels_last", "fused_optimiser"}
    assert sentences == []
    assert not {"amp", "channels_last"} & set(possible), "what was measured and is not in these figures had failed"


def test_a_run_on_a_cpu_says_what_a_gpu_alone_could_tell() -> None:
    assert gpu_sentences("cuda") == []
    diagnosis = doctor(toy(Convolving, batch_size=4), seconds=0.1)
    assert diagnosis.unmeasured == [WITHOUT_GPU]
    assert WITHOUT_GPU in " ".join(repr(diagnosis).split())
    if not diagnosis.machine.cards:
        assert "none that NVIDIA's library tells of" in repr(diagnosis)
