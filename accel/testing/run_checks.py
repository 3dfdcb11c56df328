"""The checks of a plugin by small real runs, compared bit for bit."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from accel.parts import Augment, Group, Loader, Precision, Probe, Update, Watch
from accel.schema import plugin_registry
from accel.testing.graph_replay import taped_graph
from accel.testing.plugin_runs import PluginFactory, attempt, attempt_together, companions, plugin_name
from accel.testing.toy_run import BATCH, fit_toy

__all__ = [
    "check_accumulation",
    "check_host_reads",
    "check_pairs",
    "check_refusal",
    "check_repeatable",
    "check_replay",
    "check_resume",
    "check_skipped_update",
]


def check_refusal(plugin: PluginFactory, reason: str, beside: Sequence[str] | None = None) -> None:
    """Check that a run with the plugin is refused in these words, whatever stands beside it."""
    assert attempt([plugin()]) == reason, f"{plugin_name(plugin)} needs what is not here, and is not refused for it"
    check_pairs(plugin, beside=beside)


def check_repeatable(plugin: PluginFactory) -> None:
    """Check that two runs with the plugin are equal to the last bit, and so are two without it, one before and one in between.

    A watch or a probe does not change the run.
    """
    before, first = fit_toy([]), fit_toy([plugin()])
    assert before.equals(fit_toy([])), f"{plugin_name(plugin)} leaves something behind: a later run without it differs"
    assert first.equals(fit_toy([plugin()])), f"two runs with {plugin_name(plugin)} differ"
    if isinstance(plugin(), Watch | Probe):
        assert first.equals(before), f"{plugin_name(plugin)} changes the run"


def check_pairs(plugin: PluginFactory, *, beside: Sequence[str] | None = None) -> None:
    """Check that both orders with every plugin of another part give equal bits, or one refusal."""
    for other in companions(plugin(), beside):
        ahead = attempt([plugin(), other()])
        behind = attempt([other(), plugin()])
        pair = f"{plugin_name(plugin)} and {plugin_name(other)}"
        if isinstance(ahead, str) or isinstance(behind, str):
            assert ahead == behind, f"{pair}: the orders fail differently: {ahead!r}, {behind!r}"
        else:
            assert ahead.equals(behind), f"{pair}: the order changes the run"


def check_accumulation(plugin: PluginFactory, *, tolerance: float) -> None:
    """Check that windows of two micro-batches, the last of them short, give the weights of batches twice as big."""
    instance = plugin()
    if isinstance(instance, Group | Augment | Loader):
        return
    accumulate = plugin_registry.load("accumulate")
    small = attempt_together([plugin(), accumulate(steps=2)], dropout=0.0)
    if small is None:
        return
    big = fit_toy([plugin()], batch_size=2 * BATCH, dropout=0.0)
    distance = small.distance(big)
    assert distance <= tolerance, f"with {plugin_name(plugin)}, accumulation is {distance:.2g} away from the big batch"


def check_skipped_update(plugin: PluginFactory) -> None:
    """Check that an update that overflows moves nothing: no weight, no optimiser state, no average; and that the next one does."""
    instance = plugin()
    amp = [] if isinstance(instance, Precision) else [plugin_registry.load("amp")(dtype="float16", force=True)]
    if isinstance(instance, Precision) and getattr(instance, "dtype", None) != "float16":
        return
    per_update = instance.size if isinstance(instance, Group) else 1
    outcome = attempt_together([plugin(), *amp], overflow=[3 * per_update, 3 * per_update + 1], epochs=3)
    if outcome is None:
        return
    states = outcome.spy.states
    skipped = [i for i in range(1, len(states)) if not torch.isfinite(outcome.losses[i])]
    assert skipped, "no update overflowed"
    for i in skipped:
        is_unmoved = all(torch.equal(a, b) for a, b in zip(states[i - 1], states[i], strict=True))
        assert is_unmoved, f"with {plugin_name(plugin)}, a skipped update moved something"
    is_moved = any(not torch.equal(a, b) for a, b in zip(states[skipped[-1]], states[-1], strict=True))
    assert is_moved, f"with {plugin_name(plugin)}, training does not go on after a skipped update"


def check_resume(plugin: PluginFactory) -> None:
    """Check that a run stopped in the second epoch, and resumed from the end of the first, ends with equal bits."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        complete = fit_toy([plugin()], epochs=3)
        per_epoch = len(complete.losses) // 3
        fit_toy([plugin()], epochs=3, out=out, stop=per_epoch + 1)
        resumed = fit_toy([plugin()], epochs=3, resume=out)
        tail = complete.losses[per_epoch:]
        assert all(torch.equal(a, b) for a, b in zip(tail, resumed.losses, strict=True)), (
            f"{plugin_name(plugin)}: resumed losses differ"
        )
        assert all(torch.equal(a, b) for a, b in zip(complete.weights, resumed.weights, strict=True)), (
            f"{plugin_name(plugin)}: resumed weights differ"
        )
        assert complete.metrics == resumed.metrics, f"{plugin_name(plugin)}: resumed metrics differ"


def check_host_reads(plugin: PluginFactory) -> None:
    """Check that no update reads a number on the host."""
    reads = fit_toy([plugin()], counts=True).spy.reads
    assert reads.count == 0, (
        f"{plugin_name(plugin)} reads {reads.count} numbers on the host, the first at {next(iter(reads.places))}"
    )


def check_replay(plugin: PluginFactory) -> None:
    """Check that updates replayed from a graph, where no Python runs, give equal bits; or that the plugin says why not."""
    if isinstance(plugin(), Update):
        return
    graph = taped_graph(warmup=1)
    replayed = attempt([plugin(), graph])
    if isinstance(replayed, str):
        assert "cannot capture" in replayed, f"{plugin_name(plugin)} fails in an update that is to be replayed: {replayed}"
        return
    assert graph.recorder.replays, f"{plugin_name(plugin)}: no update was replayed"
    run = attempt([plugin(), taped_graph(warmup=1000)])
    remedy = "tell so by capture_blocker(), or to_device_scalars() and before_replay()"
    assert replayed.equals(run), f"{plugin_name(plugin)}: a replayed update is another; {remedy}"
