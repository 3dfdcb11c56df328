"""What a resumed run may change, what it refuses, and what it finds where."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from accel.checkpoints import FOLDER
from accel.checkpoints.manifest import Manifest
from accel.engine.resume import locate
from accel.errors import AccelWarning, ConfigError
from accel.parts import Optim, Parallel, Part, Run, Watch
from accel.plugins.adamw import AdamW
from accel.plugins.constant import Constant
from accel.plugins.cosine import Cosine
from accel.plugins.cyclic import Cyclic
from accel.plugins.ema import EMA
from accel.plugins.metrics import Metrics
from accel.plugins.optimizer import Optimizer
from accel.plugins.sgd import SGD
from accel.plugins.step import Step
from accel.schema.settings import Settings
from accel.testing import fit_toy
from tests.support.own_loaders import stopped


def test_resuming_refuses_what_changes_the_run(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    with pytest.raises(ConfigError) as refused:
        fit_toy([AdamW(lr=0.5), EMA()], epochs=3, resume=run, batch_size=8, dropout=0.2)
    assert str(refused.value) == (
        f"resume={run}: batch_size was 4 and is now 8; plugins.adamw.lr was 0.001 and is now 0.5; plugins.ema was off and is now "
        "on; task.dropout was 0.1 and is now 0.2; go on with what the run began with, or accept the change: "
        "'resume.allow=[batch_size,plugins.adamw.lr,plugins.ema,task.dropout]'"
    )


def test_what_is_allowed_may_differ(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    with pytest.raises(ConfigError, match=r"plugins.adamw.lr was .*allow=\[task,plugins.adamw.lr\]"):
        fit_toy([AdamW(lr=0.5)], epochs=3, resume=run, dropout=0.2, allow=["task"])
    with pytest.raises(ConfigError, match=r"resume.allow: 'plugins.adamv' is nothing .* did you mean 'plugins.adamw'\?"):
        fit_toy([AdamW(lr=0.5)], epochs=3, resume=run, allow=["plugins.adamv"])
    rest = fit_toy([AdamW(lr=0.5)], epochs=3, resume=run, dropout=0.2, allow=["task", "plugins.adamw"])
    assert rest.spy.run.progress.step == 18
    fit_toy([AdamW(lr=0.5)], epochs=4, resume=run, dropout=0.2)  # the run is what it went on as
    with pytest.warns(AccelWarning, match="resume.allow has no effect"):
        fit_toy([], allow=["task"])


RATE, DECAY = {"lr": 0.01}, {"weight_decay": 0.5}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (SGD(lr=0.1, momentum=0.9), SGD(lr=0.01, momentum=0.5), {"lr": 0.01, "momentum": 0.5}),
        (AdamW(), AdamW(lr=0.01, beta1=0.5, weight_decay=0.5), {"lr": 0.01, "betas": (0.5, 0.999), "weight_decay": 0.5}),
        (Optimizer("torch.optim.NAdam"), Optimizer("torch.optim.NAdam", args=DECAY), {"lr": 1e-3, **DECAY}),
        (AdamW(groups=[{"match": "*", "lr": 0.1}]), AdamW(groups=[{"match": "*", "lr": 0.01}]), RATE),
    ],
    ids=["sgd", "adamw", "optimizer", "groups"],
)
def test_what_is_allowed_to_change_is_what_the_run_goes_on_with(
    before: Optim, now: Optim, expected: dict[str, Any], tmp_path: Path
) -> None:
    fit_toy([before], out=tmp_path / "run", epochs=1)
    rest = fit_toy([now], resume=tmp_path / "run", epochs=2, allow=["plugins"]).spy.run.parts.optim
    assert {name: rest.optimizer.param_groups[0][name] for name in expected} == expected
    assert rest.rates[0] == expected["lr"]


def test_a_rate_that_moved_by_itself_is_kept(tmp_path: Path) -> None:
    class Halved(Watch):
        def begin(self, run: Run) -> None:
            self.run = run

        def after(self, step: int, loss: torch.Tensor) -> None:
            if step == 3:
                self.run.parts.optim.set_lr(0.05)

    fit_toy([SGD(lr=0.1), Halved()], out=tmp_path / "run", epochs=1)
    rest = fit_toy([SGD(lr=0.1, momentum=0.5), Halved()], resume=tmp_path / "run", epochs=2, allow=["plugins"]).spy.run.parts.optim
    assert (rest.rates, rest.optimizer.param_groups[0]["momentum"]) == ([0.05], 0.5)


def test_an_optimiser_that_cannot_go_on_from_the_state_of_another_is_refused(tmp_path: Path) -> None:
    fit_toy([Optimizer("torch.optim.Adam")], out=tmp_path / "run", epochs=1)
    sentence = r"torch.optim.RMSprop cannot go on from the state of the one before: 'square_avg'"
    with pytest.raises(ConfigError, match=sentence):
        fit_toy([Optimizer("torch.optim.RMSprop")], resume=tmp_path / "run", epochs=2, allow=["plugins"])


def test_a_schedule_of_another_length_is_another_run(tmp_path: Path) -> None:
    fit_toy([Cosine()], epochs=3, out=tmp_path / "run", stop=13)
    with pytest.raises(ConfigError, match=r"updates was 18 and is now 24"):
        fit_toy([Cosine()], epochs=4, resume=tmp_path / "run")
    fit_toy([], epochs=2, out=tmp_path / "plain")
    assert fit_toy([], epochs=3, resume=tmp_path / "plain").spy.run.progress.step == 18, "a constant rate goes on for longer"


@pytest.mark.parametrize(
    ("schedule", "share"),
    [
        (lambda: Constant(warmup=3), lambda: Constant(warmup=0.2)),
        (lambda: Step(step_size=4), lambda: Step(step_size=0.3)),
        (lambda: Step(milestones=[3, 9]), lambda: Step(milestones=[0.3])),
        (lambda: Cyclic(step_size=2, step_size_down=3), lambda: Cyclic(step_size=2, step_size_down=0.3)),
    ],
    ids=["constant", "step", "milestones", "cyclic"],
)
def test_a_schedule_of_lengths_in_updates_goes_on_for_longer(
    schedule: Callable[[], Part], share: Callable[[], Part], tmp_path: Path
) -> None:
    whole = fit_toy([schedule()], epochs=3)
    fit_toy([schedule()], epochs=2, out=tmp_path / "run")
    assert all(map(torch.equal, whole.weights, fit_toy([schedule()], epochs=3, resume=tmp_path / "run").weights))
    fit_toy([share()], epochs=2, out=tmp_path / "share")
    with pytest.raises(ConfigError, match="updates was 12 and is now 18"):
        fit_toy([share()], epochs=3, resume=tmp_path / "share")


def test_a_checkpoint_that_keeps_the_length_all_the_same_goes_on(tmp_path: Path) -> None:
    """As those did that were written when every schedule was taken to follow it."""
    fit_toy([Constant(warmup=3)], epochs=2, out=tmp_path / "run")
    for file in (tmp_path / "run" / FOLDER).glob("*.json"):
        manifest = Manifest.read(file)
        manifest.identity["updates"] = 12
        file.write_text(manifest.text())
    assert fit_toy([Constant(warmup=3)], epochs=3, resume=tmp_path / "run").spy.run.progress.step == 18


def test_auto_looks_in_out_and_begins_where_nothing_was_saved(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    rest = fit_toy([AdamW()], epochs=3, resume=Path("auto"), out=run)
    assert rest.spy.run.progress.step == 18
    with pytest.raises(ConfigError, match="does not exist"):
        fit_toy([AdamW()], resume=tmp_path / "other")
    with pytest.warns(AccelWarning, match="holds no checkpoint yet; the run begins"):
        fit_toy([AdamW()], resume=Path("auto"), out=tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no checkpoints"):
        fit_toy([AdamW()], resume=tmp_path / "empty")


def test_a_second_run_never_writes_over_the_first(tmp_path: Path) -> None:
    run = stopped(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"holds a run already; go on with it by resume="):
        fit_toy([AdamW()], out=run)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_that_goes_back_leaves_nothing_of_what_came_after(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_toy([Metrics()], epochs=3, out=run, checkpoint_keep=3)
    lines = (run / "metrics.jsonl").read_bytes()
    old = sorted((run / FOLDER).glob("*.pt"))[0]
    fit_toy([Metrics()], epochs=3, out=run, resume=old, stop=8)  # it ends before the first checkpoint of its own
    assert [path.stem for path in (run / FOLDER).glob("*.pt")] == [old.stem], "from these it would go on"
    fit_toy([Metrics()], epochs=3, out=run, resume=Path("auto"))
    assert (run / "metrics.jsonl").read_bytes() == lines


@dataclass(eq=False)
class BegunAnew(Parallel):
    """As torchrun begins it anew."""

    @property
    def attempt(self) -> int:
        return 1


def test_a_process_begun_anew_goes_on_from_what_it_was_told_until_it_has_saved(tmp_path: Path) -> None:
    old, new = stopped(tmp_path), tmp_path / "new"
    settings = Settings(out=str(new), resume=str(old))
    (new / FOLDER).mkdir(parents=True)
    (new / FOLDER / "update-00000099-epoch-0009.pt").write_bytes(b"killed in its first save")
    actual = locate(settings, BegunAnew())[1]
    assert actual is not None
    assert actual.file.parent == old / FOLDER
    (new / FOLDER / "update-00000099-epoch-0009.pt").unlink()
    fit_toy([AdamW()], epochs=4, out=new, resume=old)
    actual = locate(settings, BegunAnew())[1]
    assert actual is not None
    assert actual.file.parent == new / FOLDER


def test_the_newest_two_are_kept_and_nothing_half_written(tmp_path: Path) -> None:
    fit_toy([], epochs=4, out=tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / FOLDER).iterdir())
    assert names == [
        "update-00000018-epoch-0003.json", "update-00000018-epoch-0003.pt",
        "update-00000024-epoch-0004.json", "update-00000024-epoch-0004.pt",
    ]  # fmt: skip


def test_a_finished_run_resumes_into_its_result(tmp_path: Path) -> None:
    whole = fit_toy([EMA()], epochs=2, out=tmp_path / "run")
    again = fit_toy([EMA()], epochs=2, resume=tmp_path / "run")
    assert again.losses == []
    assert again.metrics == whole.metrics
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, again.weights, strict=True))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["updates"] == 12
