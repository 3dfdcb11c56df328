"""SIGTERM and SIGINT, in every phase of a run: it stops with everything saved, and resumed it ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from accel import Interrupted, Trainer
from accel.checkpoints import FOLDER, find
from accel.engine.evaluation.evaluation_trial import BATCHES
from accel.parts import Watch
from accel.plugins import AMP, EMA, Accumulate, AdamW, Cosine, LRRange, Metrics
from accel.testing.drill.compare_runs import compare_runs
from accel.testing.toy_run import Toy, ToyResult, fit_toy

UPDATES = 6
"""Of an epoch, one batch each."""


def fit(out: Path, *more: Any, resume: bool = False, **settings: Any) -> ToyResult:
    plugins = [AdamW(), EMA(), Cosine(), Metrics(curves=False), *more]
    return fit_toy(plugins, epochs=2, out=None if resume else out, resume=out if resume else None, **settings)


@dataclass(eq=False)
class Signals(Watch):
    """Sends this process signals from inside the run."""

    wait_point: Any = "after 3"
    numbers: Any = (signal.SIGTERM,)
    passed: list[str] = field(default_factory=list, init=False)

    def pass_by(self, place: str) -> None:
        self.passed.append(place)
        if place == self.wait_point:
            for number in self.numbers:
                os.kill(os.getpid(), number)

    def setup(self, run: Any) -> None:
        self.pass_by("setup")

    def begin(self, run: Any) -> None:
        self.run = run
        self.pass_by("begin")

    def after(self, step: int, loss: Any) -> None:
        self.pass_by(f"after {step}")

    def evaluated(self, epoch: int, metrics: Any) -> None:
        self.pass_by(f"evaluated {epoch}")

    def end(self, result: Any) -> None:
        self.pass_by("end")

    def state_dict(self) -> dict[str, Any]:
        self.pass_by(f"saving {self.run.progress.step}")
        return {}

    def load_state_dict(self, state: Any) -> None:
        self.pass_by("resuming")


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """What comes to a handler that was there before."""
    actual: list[int] = []
    before = {number: signal.signal(number, lambda number, _: actual.append(number)) for number in (signal.SIGTERM, signal.SIGINT)}
    yield actual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[ToyResult, Path]:
    """The run that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return fit(out, checkpoint_every=4), out


def resumed(out: Path, whole: tuple[ToyResult, Path]) -> None:
    """It goes on, and ends as the other did."""
    rest = fit(out, resume=(out / FOLDER).exists(), checkpoint_every=4)
    assert all(map(torch.equal, rest.weights, whole[0].weights))
    assert rest.metrics == whole[0].metrics
    assert (out / "metrics.jsonl").read_bytes() == (whole[1] / "metrics.jsonl").read_bytes()


STOPS = {
    "setup": None, "begin": None, "after 1": 1, "after 3": 3, f"after {UPDATES}": UPDATES, "saving 4": 4, "evaluated 1": UPDATES,
    f"saving {UPDATES}": UPDATES, "after 8": 8, f"after {2 * UPDATES}": 2 * UPDATES,
}  # fmt: skip
"""Where the signal comes, and after which update the run is stopped."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", STOPS)
def test_it_finishes_the_update_and_saves(
    place: str, number: signal.Signals, whole: tuple[ToyResult, Path], tmp_path: Path, heard: list[int]
) -> None:
    spy = Signals(wait_point=place, numbers=(number,))
    with pytest.raises(Interrupted) as stopped:
        fit(tmp_path / "run", spy, checkpoint_every=4)
    assert (stopped.value.code, stopped.value.signal, stopped.value.update) == (75, number.name, STOPS[place])
    if STOPS[place] is None:
        assert str(stopped.value) == f"stopped by {number.name} while it was starting"
        assert not (tmp_path / "run").exists(), "it did nothing, and leaves nothing"
    else:
        assert stopped.value.resume == f"resume={str(tmp_path / 'run')!r}"
        actual = find(str(tmp_path / "run"), None)
        assert actual is not None
        assert actual.manifest.progress["step"] == STOPS[place]
    assert heard == [], "it was heeded"
    assert "end" not in spy.passed
    resumed(tmp_path / "run", whole)


def test_an_evaluation_stops_between_batches_and_is_made_again(
    whole: tuple[ToyResult, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def metrics(self: Toy, model: Any, batch: Any) -> Any:
        seen.append(len(batch[0]))
        if len(seen) == BATCHES + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": self.loss(model, batch)}

    monkeypatch.setattr(Toy, "metrics", metrics)
    with pytest.raises(Interrupted, match=f"after update {UPDATES}$"):
        fit(tmp_path / "run", checkpoint_every=4)
    assert len(seen) == BATCHES + 2, "of six batches, after those of the trial"
    assert '"val_loss"' not in (tmp_path / "run/metrics.jsonl").read_text()
    resumed(tmp_path / "run", whole)


@pytest.mark.filterwarnings("ignore:.*trains no more:accel.errors.AccelWarning")
@pytest.mark.parametrize("updates", [2 * UPDATES, 9], ids=["of two epochs", "within an epoch"])
def test_whichever_evaluation_is_stopped_is_saved_with_the_rest(updates: int, tmp_path: Path) -> None:
    """The last checkpoint has it, and where it is the best, its weights are kept: as in the run that nothing stopped."""
    calls: list[int] = []
    steps: list[int] = []
    struck: list[int] = []

    class Stopped(Toy):
        def loss(self, model: Any, batch: Any) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

        def metrics(self, model: Any, batch: Any) -> Any:
            calls.append(len(calls))
            if calls[-1] in struck:
                os.kill(os.getpid(), signal.SIGTERM)
            return {"score": float(steps[-1:] == [8])}

    @dataclass(eq=False)
    class Steps(Watch):
        def after(self, step: int, loss: Any) -> None:
            steps.append(step)

    def train(out: Path, *strikes: int) -> None:
        calls.clear()
        struck[:] = strikes
        going_on = {"resume": out} if out.exists() else {"out": out}
        plugins = [AdamW(), Steps(), Metrics(curves=False)]
        fit_toy(plugins, kind=Stopped, updates=updates, evaluate_every=2, checkpoint_best="max:score", **going_on)

    train(tmp_path / "whole")
    evaluations = len(calls[BATCHES:]) // UPDATES
    for number in range(evaluations):
        with pytest.raises(Interrupted):
            train(out := tmp_path / str(number), BATCHES + number * UPDATES + 1)  # in the second of its batches
        train(out)
        assert compare_runs(out, tmp_path / "whole") == ""
    assert evaluations == 6 - (updates == 9)


def test_while_it_resumes(whole: tuple[ToyResult, Path], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(tmp_path / "run", Signals())
    before = {path: path.read_bytes() for path in (tmp_path / "run" / FOLDER).iterdir()}
    with pytest.raises(Interrupted, match="while it was starting"):
        fit(tmp_path / "run", Signals(wait_point="resuming"), resume=True)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run" / FOLDER).iterdir()}
    resumed(tmp_path / "run", whole)


def test_while_rates_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Toy.loss

    def loss(self: Toy, model: Any, batch: Any) -> Any:
        if model.training and getattr(self, "calls", 0) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return own(self, model, batch)

    monkeypatch.setattr(Toy, "loss", loss)
    with pytest.raises(Interrupted, match="while it was starting"):
        fit(tmp_path / "run", LRRange(updates=12))
    assert not (tmp_path / "run").exists()


def test_in_the_middle_of_a_window(tmp_path: Path) -> None:
    plugins = [AMP(), Accumulate(steps=4), AdamW()]
    whole = fit_toy(plugins, epochs=3)
    with pytest.raises(Interrupted):
        fit_toy([*plugins, Signals()], epochs=3, out=tmp_path / "run")
    rest = fit_toy(plugins, epochs=3, resume=tmp_path / "run")
    assert all(map(torch.equal, rest.weights, whole.weights))


def test_without_a_directory_nothing_is_saved_and_it_says_so() -> None:
    with pytest.raises(Interrupted, match=r"after update 3; nothing was saved, for the run has no directory \(out\)$") as stopped:
        fit_toy([Signals()])
    assert stopped.value.resume == ""


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", Signals(numbers=(signal.SIGINT, signal.SIGINT)))
    with pytest.raises(Interrupted, match="stopped by SIGTERM"):
        fit(tmp_path / "other", Signals(numbers=(signal.SIGTERM, signal.SIGTERM, signal.SIGINT)))


def test_under_torchrun_one_ctrl_c_comes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(Interrupted, match="stopped by SIGINT"):
        fit(tmp_path / "run", Signals(numbers=(signal.SIGINT, signal.SIGINT)))


def test_what_comes_when_the_run_is_done_is_heard_by_who_was_there_before(heard: list[int], tmp_path: Path) -> None:
    fit(tmp_path / "run", Signals(wait_point="end"))
    assert heard == [signal.SIGTERM]
    assert (tmp_path / "run/model.safetensors").exists()
    os.kill(os.getpid(), signal.SIGINT)
    assert heard == [signal.SIGTERM, signal.SIGINT], "and the handlers are where they were"


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup and a shell's & do
    try:
        outcome = fit(tmp_path / "run", Signals(numbers=(signal.SIGINT,)))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert outcome.spy.run.progress.step == 2 * UPDATES, "to the end"


def test_in_another_thread_nobody_listens(heard: list[int]) -> None:
    ended: list[Any] = []
    thread = threading.Thread(target=lambda: ended.append(fit_toy([])))
    thread.start()
    thread.join()
    assert ended
    assert heard == []


def test_a_fork_does_not_react(tmp_path: Path) -> None:
    """What a loader's worker process is that does not forget the signals itself."""
    codes: list[int] = []

    def forked(act: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                act()
            finally:
                os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    class Forks(Watch):
        def after(self, step: int, loss: Any) -> None:
            if step == 1:
                forked(lambda: os.kill(os.getpid(), signal.SIGINT))
                forked(lambda: os.kill(os.getpid(), signal.SIGTERM))

    fit_toy([Forks()])
    assert codes == [0, -signal.SIGTERM]


SCRIPT = """
import os, signal, torch
from accel import Trainer
from accel.parts import Watch
class Ask(Watch):
    def after(self, step, loss):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
Trainer(torch.nn.Linear(2, 1), [torch.ones(3, 2)] * 5, loss=lambda model, batch: model(batch).square().mean(),
        plugins=[Ask()], out="runs/one").fit()
print("not reached")
"""


@pytest.mark.slow
def test_a_script_ends_with_75_and_says_how_to_go_on(tmp_path: Path, forked_commands: None) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("\nstopped by SIGTERM after update 2; go on with resume='runs/one'")


def test_the_names_are_public() -> None:
    assert issubclass(Interrupted, SystemExit)
    assert Trainer.fit.__doc__
    assert "Interrupted" in Trainer.fit.__doc__
