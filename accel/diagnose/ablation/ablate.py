"""Ablation of a run: each plugin is left out and each is alone, and what that changes is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from accel.device.cuda.run_device import choose_device
from accel.device.rng import Randomness
from accel.diagnose.ablation.ablated_plugins import candidates
from accel.diagnose.ablation.bench import Bench
from accel.diagnose.ablation.contribution import Ablation
from accel.diagnose.ablation.study import Study
from accel.diagnose.ablation.trial_request import named_plugins
from accel.engine.checks.preflight import check_trainer, require_one_process, require_timed_device
from accel.system.call_stack import warnings_of_run
from accel.system.calls.call_arguments import with_checked_arguments
from accel.system.stop_signals import StopSignals
from accel.values import Count, Positive, Whole, check_value

if TYPE_CHECKING:
    from accel.trainer import Trainer

__all__ = ["ablate"]


@with_checked_arguments
def ablate(
    trainer: Trainer,
    *,
    together: Sequence[Sequence[str]] = (),
    seeds: int = 4,
    updates: int | None = None,
    seconds: float = 45.0,
    report: Callable[[str], None] | None = None,
    make_trainer: Callable[[], Any] | None = None,
) -> Ablation:
    """Measure what each plugin of a run brings, and return it. The trainer, its model and all random numbers stay as they are.

    Args:
        trainer: the run; not started.
        together: names of plugins that belong together, such as `[("onecycle", "lamb")]`: they are left out as one.
        seeds: runs of each way whose losses are compared, 4 or more to tell a difference; 0 to compare none.
        updates: updates after which losses are compared; None for as many as take some seconds.
        seconds: time for each comparison of two speeds, about; it ends earlier if the bounds are narrow.
        report: called with a line about each step.
        make_trainer: makes the same trainer in another process, for the plugin backend; None sends a pickle of `trainer`.

    Raises:
        ConfigError: if there is no plugin to leave out, several processes were started, or the run cannot work.
        Interrupted: if SIGTERM or SIGINT came.

    Source: the order of the windows and the bounds are those of `accel.compare`.
    """
    check_value("seeds", seeds, Whole)
    check_value("updates", updates, Count | None)
    check_value("seconds", seconds, Positive)
    check_trainer(trainer, "ablate")
    require_timed_device("ablate", trainer.settings.device)
    require_one_process("ablate")  # ranks would each decide by clocks of their own what to measure next
    request = trainer._request()
    plugins = named_plugins(request)
    chosen = candidates(plugins, together)
    make = make_trainer or partial(_itself, trainer)
    with ExitStack() as stack:
        stack.enter_context(_unmoved(trainer))
        signals = stack.enter_context(StopSignals(at_once=True))
        stack.enter_context(warnings_of_run())
        bench = stack.enter_context(closing(Bench(request, signals, make, seconds)))
        return Study(bench, plugins, seeds, updates, report or _ignore).run(chosen)


@contextmanager
def _unmoved(trainer: Trainer) -> Iterator[None]:
    """Leave random numbers and the attributes of a trainer as they are, whatever is done with it inside."""
    attributes = dict(vars(trainer))
    try:
        with Randomness(choose_device(trainer.settings.device)).preserved():
            yield
    finally:
        vars(trainer).clear()
        vars(trainer).update(attributes)


def _itself(trainer: Trainer) -> Trainer:
    return trainer


def _ignore(line: str) -> None:
    """Do nothing."""
