"""A run in a loop of one's own is the run of `fit`, to the last bit, also after a kill; what is misused is a sentence."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import ConfigError, Interrupted
from accel.parts import Part
from accel.pieces import OwnLoop, begin
from accel.plugins.accumulate import Accumulate
from accel.plugins.amp import AMP
from accel.plugins.finite_guard import FiniteGuard
from accel.system.faults import arm
from accel.testing.toy_run import BATCH, Spy, Toy, cheap, fit_toy
from tests.support.forked_process import run_forked

Plugins = Callable[[], list[Part]]
NAMES: dict[str, list[str]] = {
    "plain": [],
    "amp": ["amp"],
    "clip": ["clip"],
    "ema_onecycle": ["ema", "onecycle"],
    "lamb": ["lamb", "batch_lr"],
    "masters": ["master_weights", "adamw"],
    "average": ["average", "plateau"],
}
SETS: dict[str, Plugins] = {name: lambda chosen=chosen: [cheap(one)() for one in chosen] for name, chosen in NAMES.items()}  # type: ignore[misc]
SETS |= {
    "accumulate": lambda: [Accumulate(steps=4)],
    "all": lambda: [Accumulate(steps=4), *(cheap(name)() for name in ("amp", "clip", "ema", "onecycle", "lamb", "prefetch"))],
    "float16": lambda: [AMP(dtype="float16", force=True, growth_interval=3), Accumulate(steps=4), FiniteGuard()],
}


class WithItems(Toy):
    """Its loss is a mean over the samples of the first class, of which a batch may have none, and logs their number."""

    def loss(self, model: nn.Module, batch: Any) -> Any:
        return item_loss(model, batch)


def item_loss(model: nn.Module, batch: Any) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return the mean loss of the first class, its number of samples, and the same to log."""
    kept = batch[1] == 0
    losses = nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
    return losses[kept].sum() / kept.sum().clamp(min=1), kept.sum(), {"kept": kept.float().mean()}


def toy(plugins: list[Part], kind: type[Toy] = Toy, **settings: Any) -> OwnLoop:
    """The run of `fit_toy`, for a loop of one's own."""
    return OwnLoop(kind(plugins=plugins, watch=(), batch_size=BATCH, seed=3, device="cpu", **{"epochs": 2, **settings}))


def loss_of(run: OwnLoop, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(run.model(batch[0]), batch[1])


def train(loop: OwnLoop, after: Callable[[OwnLoop], object] = lambda run: None, items: bool = False) -> OwnLoop:
    """The loop that a user writes."""
    with loop as run:
        for window in run:
            for batch in window:
                with run.cast():
                    given: Any = item_loss(run.model, batch) if items else (loss_of(run, batch),)
                run.backward(*given)
            run.step()
            after(run)
    return run


def states(spy: Spy) -> list[list[Tensor]]:
    return [*spy.states, spy.losses, list(spy.run.unwrapped_model.state_dict().values())]


def assert_equal(first: Spy, second: Spy, since: int = 0) -> None:
    """Weights, optimiser, average and loss after each update, and what is handed out."""
    one, other = states(first), states(second)
    one = [*one[since:-2], one[-2][since:], one[-1]]
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for here, there in zip(one, other, strict=True) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("name", SETS)
def test_it_is_the_run_of_fit(name: str) -> None:
    whole, spy = fit_toy(SETS[name]()), Spy()
    run = train(toy([*SETS[name](), spy]))
    assert_equal(whole.spy, spy)
    assert run.result.metrics == whole.metrics
    assert run.result.updates == len(whole.losses)


@pytest.mark.parametrize("name", ["plain", "accumulate", "all"])
def test_a_number_of_items_weighs_and_numbers_are_logged(name: str) -> None:
    whole, spy = fit_toy(SETS[name](), kind=WithItems), Spy()
    train(toy([*SETS[name](), spy], kind=WithItems), items=True)
    assert_equal(whole.spy, spy)
    assert whole.spy.run.parts.update.logged == spy.run.parts.update.logged != {}


def test_the_functions_arguments_are_those_of_a_trainer() -> None:
    torch.manual_seed(0)
    model, data = nn.Linear(6, 3), Toy().data("train")
    run = train(begin(model, data, plugins=["amp"], updates=2, batch_size=BATCH, watch=(), device="cpu"))
    assert run.result.model is model
    with pytest.raises(ConfigError, match="upates is no argument of Trainer; did you mean 'updates'"):
        begin(model, data, upates=2)  # type: ignore[call-arg]


def killed(number: int, at: int) -> Callable[[OwnLoop], None]:
    """Return what sends a signal to this process after update `at`."""

    def strike(run: OwnLoop) -> None:
        if run.updates == at - 1:  # the update at hand is done when the loop goes on
            os.kill(os.getpid(), number)

    return strike


@pytest.mark.filterwarnings("ignore:.*holds no checkpoint yet", "ignore:.*skipped update")
@pytest.mark.parametrize(
    ("at", "again"), [(1, 6), (2, None), (3, None), ("saving.copied:2", 5), ("saving.done:3", 4), ("saving.weights.moved", 0)]
)
def test_killed_and_run_again_it_ends_with_the_same_bits(at: int | str, again: int | None, tmp_path: Path) -> None:
    """`again` are the updates that are left after it; None where the kill races with the thread that writes."""
    whole, spy = fit_toy(SETS["all"](), epochs=3), Spy()
    settings: dict[str, Any] = {"epochs": 3, "out": str(tmp_path), "resume": "auto", "checkpoint_every": 1}

    def struck() -> None:
        if isinstance(at, str):
            arm(at)
        train(toy(SETS["all"](), **settings), killed(signal.SIGKILL, at) if isinstance(at, int) else lambda run: None)

    assert run_forked(struck).code == -signal.SIGKILL
    run = train(toy([*SETS["all"](), spy], **settings))
    assert_equal(whole.spy, spy, since=len(whole.losses) - len(spy.losses))
    assert run.result.metrics == whole.metrics
    assert run.result.updates == len(whole.losses)
    assert again in (None, len(spy.losses))


def test_sigterm_ends_it_after_the_update_with_everything_saved(tmp_path: Path) -> None:
    whole, spy = fit_toy(SETS["all"]()), Spy()
    with pytest.raises(Interrupted, match="stopped by SIGTERM after update 2") as stop:
        train(toy(SETS["all"](), out=str(tmp_path)), killed(signal.SIGTERM, 2))
    assert stop.value.code == 75
    train(toy([*SETS["all"](), spy], resume=str(tmp_path)))
    assert_equal(whole.spy, spy, since=2)


def test_a_run_of_fit_goes_on_in_a_loop_of_ones_own(tmp_path: Path) -> None:
    whole, spy = fit_toy(SETS["all"]()), Spy()
    fit_toy(SETS["all"](), out=tmp_path, checkpoint_every=1, stop=3)
    train(toy([*SETS["all"](), spy], resume=str(tmp_path)))
    assert_equal(whole.spy, spy, since=len(whole.losses) - len(spy.losses))


def test_break_and_stop_end_it_with_its_final_weights(tmp_path: Path) -> None:
    whole = fit_toy(SETS["all"](), updates=3)
    with toy(SETS["all"](), out=str(tmp_path)) as run:
        for window in run:
            for batch in window:
                with run.cast():
                    loss = loss_of(run, batch)
                run.backward(loss)
            run.step()
            if run.updates == 2:
                break
    assert (run.result.updates, run.result.stopped) == (3, "the loop was left after update 3")
    assert (tmp_path / "summary.json").exists()
    assert whole.spy.run.updates == 3
    stopped = train(toy([]), lambda run: run.stop("enough") if run.updates == 2 else None).result
    assert (stopped.updates, stopped.stopped) == (3, "enough")


def test_its_own_evaluation_sees_the_average_and_changes_nothing() -> None:
    whole, spy, seen = fit_toy(SETS["all"]()), Spy(), list[bool]()

    def evaluate(run: OwnLoop) -> None:
        before = [param.clone() for param in run.model.parameters()]
        with torch.no_grad(), run.weights() as model:
            seen.append(model.training or all(map(torch.equal, before, model.parameters())))
            model(torch.ones(2, 6))
        run.model.eval()  # and forgets to put it back

    train(toy([*SETS["all"](), spy]), evaluate)
    assert seen
    assert not any(seen[1:])
    assert_equal(whole.spy, spy)


def step_without_backward(run: OwnLoop) -> None:
    for _ in run:
        run.step()


def step_after_some(run: OwnLoop) -> None:
    for window in run:
        run.backward(loss_of(run, next(iter(window))))
        run.step()


def two_steps(run: OwnLoop) -> None:
    for window in run:
        for batch in window:
            run.backward(loss_of(run, batch))
        run.step()
        run.step()


def no_step(run: OwnLoop) -> None:
    for window in run:
        for batch in window:
            run.backward(loss_of(run, batch))


def two_backwards(run: OwnLoop) -> None:
    for window in run:
        for batch in window:
            run.backward(loss_of(run, batch))
            run.backward(loss_of(run, batch))


def batch_left_out(run: OwnLoop) -> None:
    for window in run:
        for _ in window:
            pass


def window_twice(run: OwnLoop) -> None:
    for window in run:
        for batch in window:
            run.backward(loss_of(run, batch))
        list(window)


def own_backward(run: OwnLoop) -> None:
    for window in run:
        for batch in window:
            loss = loss_of(run, batch)
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            run.backward(loss)


def left_in_a_window(run: OwnLoop) -> None:
    for _ in run:
        break


def outside_of_the_loop(run: OwnLoop) -> None:
    run.step()


def a_number(run: OwnLoop) -> None:
    for window in run:
        for batch in window:
            run.backward(loss_of(run, batch).item())  # type: ignore[arg-type]


def two_loops(run: OwnLoop) -> None:
    for _ in run:
        for _ in run:
            pass


def result_too_early(run: OwnLoop) -> None:
    print(run.result)


MISUSES: list[tuple[Callable[[OwnLoop], None], str]] = [
    (step_without_backward, r"run\.step\(\) was called after 0 of 2 backward passes; call run\.backward"),
    (step_after_some, r"after 1 of 2 backward passes"),
    (two_steps, r"run\.step\(\) was called twice in update 1"),
    (no_step, r"update 1 was left without run\.step\(\)"),
    (two_backwards, r"was called without a batch; call it once for each"),
    (batch_left_out, r"a batch of update 1 was left without run\.backward"),
    (window_twice, r"the batches of update 1 were asked for twice"),
    (own_backward, r"gradients before run\.backward\(loss\).*leave loss\.backward\(\) out"),
    (left_in_a_window, r"the loop was left in update 1, before run\.step\(\)"),
    (outside_of_the_loop, r"run\.step\(\) was called outside of the loop"),
    (a_number, r"run\.backward was given a float; return a scalar tensor.*without item\(\)"),
    (two_loops, r"`for window in run` was begun twice"),
    (result_too_early, r"the result is there when the loop has ended"),
    (lambda run: None, r"the run was left without a loop"),
]


@pytest.mark.parametrize(("misuse", "sentence"), MISUSES, ids=lambda one: getattr(one, "__name__", ""))
def test_misuse_is_a_sentence_and_leaves_no_directory(misuse: Callable[[OwnLoop], None], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=sentence), toy([Accumulate(steps=2)], out=str(tmp_path / "run")) as run:
        misuse(run)
    assert not (tmp_path / "run").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(ConfigError, match="the run is not open"):
        run.step()
    with pytest.raises(ConfigError, match="entered before"), run:
        pass


@pytest.mark.parametrize("name", ["oom", "step_in_backward", "distill"])
def test_a_plugin_with_its_own_forward_pass_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name} makes the forward pass itself"):
        toy([cheap(name)()], out=str(tmp_path / "run")).__enter__()
    assert not (tmp_path / "run").exists()


def test_a_forward_pass_outside_of_cast_is_refused_if_something_casts() -> None:
    with pytest.raises(ConfigError, match=r"was made in float32; make it inside `with run\.cast"), toy([AMP()]) as run:
        no_step(run)


def test_items_in_float16_are_refused() -> None:
    with pytest.raises(ConfigError, match="float16 needs the items of all batches"):
        train(toy(SETS["float16"](), kind=WithItems), items=True)


def test_an_exception_inside_comes_out_and_what_was_saved_goes_on(tmp_path: Path) -> None:
    def fail(run: OwnLoop) -> None:
        if run.updates == 2:
            raise ZeroDivisionError

    whole, spy = fit_toy(SETS["all"]()), Spy()
    with pytest.raises(ZeroDivisionError):
        train(toy(SETS["all"](), out=str(tmp_path), checkpoint_every=1), fail)
    train(toy([*SETS["all"](), spy], resume=str(tmp_path)))
    assert_equal(whole.spy, spy, since=2)
