"""The common suite of all plugins."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from accel.device.rng import Randomness
from accel.engine.select_parts import PART_TYPES, make_plugin, part_name
from accel.errors import AccelWarning, ConfigError
from accel.parts import Augment, Group, Loader, Part, Precision, Probe, Update, Watch
from accel.schema import plugin_registry
from accel.testing.graph_replay import taped_graph
from accel.testing.toy_run import BATCH, cheap, fit_toy

Maker = Callable[[], Part]


def check_plugin(plugin: Maker, *, tolerance: float = 1e-5) -> str:
    """Proves on a small real run, on the CPU, that a plugin keeps what every plugin of accel keeps.

    Settings are checked, the run with it is repeatable, it composes with every plugin of another part in either order,
    accumulation with it equals the big batch, a skipped update moves nothing, a resumed run ends with the same bits, nothing is
    read on the host, an update with it can be replayed from a graph or says why not, and after it a run without it is what it was
    before. Where it cannot stand beside another plugin, a sentence names both.

    Args:
        plugin: the class, or a function that makes an instance with the settings to be tested.
        tolerance: how far accumulated weights may be from those of the big batch (16-bit arithmetic needs more).

    Returns:
        Why it cannot work here (a plugin that needs CUDA, say): then only its settings and its refusal are proven. Else nothing.

    Raises:
        AssertionError: saying what does not hold.
    """
    with (
        warnings.catch_warnings(),
        Randomness(torch.device("cpu")).preserved(),
        redirect_stdout(StringIO()),
    ):  # progress would show each run
        warnings.simplefilter("ignore", AccelWarning)
        reason = unmet_need(plugin())
        if reason:
            check_settings(plugin)
            check_refusal(plugin, reason)
            return reason
        for check in (
            check_settings,
            check_close,
            check_no_global_state,
            check_repeatable,
            check_pairs,
            partial(check_accumulation, tolerance=tolerance),
            check_skipped_update,
            check_resume,
            check_host_reads,
            check_replay,
        ):
            check(plugin)
    return ""


def check_settings(plugin: Maker) -> None:
    """It is a dataclass that provides one part, and refuses a setting of the wrong kind with a sentence."""
    made = plugin()
    assert isinstance(made, Part), f"{made!r} is no Part"
    assert is_dataclass(type(made)), f"{made.name} must be a dataclass: decorate it with @dataclass(eq=False)"
    assert type(made) not in (*PART_TYPES.values(), Watch), f"{made.name} must be a subclass of its part"
    kinds = [kind for kind in (*PART_TYPES.values(), Watch) if isinstance(made, kind)]
    assert len(kinds) == 1, f"{made.name} provides {len(kinds)} parts: {kinds}"
    for field in (field for field in fields(made) if field.init):
        said = refusal(type(made), {**made.settings, field.name: object()})
        assert said, f"{made.name}.{field.name} takes anything: annotate it with a kind from accel.values"
        assert f"{made.name}.{field.name}" in said, f"the error for {field.name} does not name it: {said}"


def check_close(plugin: Maker) -> None:
    """It can be closed without having been set up: what fails before must be heard, and not what fails over it."""
    for method in ("restore", "release", "close"):
        close = getattr(plugin(), method, None)
        try:
            if close is not None:
                close()
        except Exception as error:
            raise AssertionError(f"{plugin_name(plugin)}.{method}() fails where setup() was not called: {error!r}") from error


def refusal(kind: type[Part], settings: dict[str, Any]) -> str:
    """The sentence with which a plugin refuses its settings; empty where it takes them."""
    try:
        kind(**settings)
    except ConfigError as error:
        return str(error)
    return ""


def unmet_need(made: Part) -> str:
    """The sentence with which a plugin is refused on the CPU of this machine for what it needs; empty where it is not."""
    reasons = ((need, need.unmet_reason(made.settings, "cpu")) for need in made.needs)
    return next((need.sentence(made.name, reason) for need, reason in reasons if reason), "")


def check_refusal(plugin: Maker, reason: str) -> None:
    """A run with it is refused in these words, whatever stands beside it."""
    assert attempt([plugin()]) == reason, f"{plugin_name(plugin)} needs what is not here, and is not refused for it"
    check_pairs(plugin)


def check_no_global_state(plugin: Maker) -> None:
    """A run without it is the same before and after a run with it: it leaves no global state."""
    before = fit_toy([])
    fit_toy([plugin()])
    assert before.equals(fit_toy([])), f"{plugin_name(plugin)} leaves something behind: a later run without it differs"


def check_repeatable(plugin: Maker) -> None:
    """Two runs with it are the same to the last bit; a watch or a probe leaves the run as it was without it."""
    first = fit_toy([plugin()])
    assert first.equals(fit_toy([plugin()])), f"two runs with {plugin_name(plugin)} differ"
    if isinstance(plugin(), Watch | Probe):
        assert first.equals(fit_toy([])), f"{plugin_name(plugin)} changes the run"


def check_pairs(plugin: Maker) -> None:
    """With every plugin of another part, both orders give the same bits."""
    for other in companions(plugin()):
        ahead = attempt([plugin(), other()])
        behind = attempt([other(), plugin()])
        pair = f"{plugin_name(plugin)} and {plugin_name(other)}"
        if isinstance(ahead, str) or isinstance(behind, str):
            assert ahead == behind, f"{pair}: the orders fail differently: {ahead!r}, {behind!r}"
        else:
            assert ahead.equals(behind), f"{pair}: the order changes the run"


def check_accumulation(plugin: Maker, *, tolerance: float) -> None:
    """With windows of two micro-batches, the last of them short, it gives what it gives with batches twice as big."""
    made = plugin()
    if isinstance(made, Group | Augment | Loader):
        return
    accumulate = plugin_registry.load("accumulate")
    if are_incompatible([plugin(), accumulate(steps=2)]):
        return
    small = fit_toy([plugin(), accumulate(steps=2)], dropout=0.0)
    big = fit_toy([plugin()], batch_size=2 * BATCH, dropout=0.0)
    distance = small.distance(big)
    assert distance <= tolerance, f"with {plugin_name(plugin)}, accumulation is {distance:.2g} away from the big batch"


def check_skipped_update(plugin: Maker) -> None:
    """An update that overflows moves nothing: no weight, no optimiser state, no average; the next one goes on."""
    made = plugin()
    amp = [] if isinstance(made, Precision) else [plugin_registry.load("amp")(dtype="float16", force=True)]
    if isinstance(made, Precision) and getattr(made, "dtype", None) != "float16":
        return
    if are_incompatible([plugin(), *amp]):
        return
    per_update = made.size if isinstance(made, Group) else 1
    outcome = fit_toy([plugin(), *amp], overflow=[3 * per_update, 3 * per_update + 1], epochs=3)
    states = outcome.spy.states
    skipped = [i for i in range(1, len(states)) if not torch.isfinite(outcome.losses[i])]
    assert skipped, "no update overflowed"
    for i in skipped:
        still = all(torch.equal(a, b) for a, b in zip(states[i - 1], states[i], strict=True))
        assert still, f"with {plugin_name(plugin)}, a skipped update moved something"
    moved = any(not torch.equal(a, b) for a, b in zip(states[skipped[-1]], states[-1], strict=True))
    assert moved, f"with {plugin_name(plugin)}, training does not go on after a skipped update"


def check_resume(plugin: Maker) -> None:
    """Stopped in the second epoch and resumed from the end of the first, it ends with the same bits."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        whole = fit_toy([plugin()], epochs=3)
        per_epoch = len(whole.losses) // 3
        fit_toy([plugin()], epochs=3, out=out, stop=per_epoch + 1)
        rest = fit_toy([plugin()], epochs=3, resume=out)
        tail = whole.losses[per_epoch:]
        assert all(torch.equal(a, b) for a, b in zip(tail, rest.losses, strict=True)), (
            f"{plugin_name(plugin)}: resumed losses differ"
        )
        assert all(torch.equal(a, b) for a, b in zip(whole.weights, rest.weights, strict=True)), (
            f"{plugin_name(plugin)}: resumed weights differ"
        )
        assert whole.metrics == rest.metrics, f"{plugin_name(plugin)}: resumed metrics differ"


def check_host_reads(plugin: Maker) -> None:
    """No update reads a number on the host."""
    reads = fit_toy([plugin()], counts=True).spy.reads
    assert reads.count == 0, (
        f"{plugin_name(plugin)} reads {reads.count} numbers on the host, the first at {next(iter(reads.places))}"
    )


def check_replay(plugin: Maker) -> None:
    """Replayed from a graph, where no Python runs, its updates are the same bits; or it says why they cannot be."""
    if isinstance(plugin(), Update):
        return
    graph = taped_graph(warmup=1)
    replayed = attempt([plugin(), graph])
    if isinstance(replayed, str):
        assert "cannot capture" in replayed, f"{plugin_name(plugin)} fails in an update that is to be replayed: {replayed}"
        return
    assert graph.recorder.replays, f"{plugin_name(plugin)}: no update was replayed"
    run = attempt([plugin(), taped_graph(warmup=1000)])
    assert replayed.equals(run), (
        f"{plugin_name(plugin)}: a replayed update is another; tell so by uncapturable(), or hold() and beat()"
    )


def are_incompatible(plugins: list[Part]) -> bool:
    """Whether these plugins of different parts cannot stand together; then a sentence names each of them."""
    outcome = attempt(plugins)
    if isinstance(outcome, str):
        assert all(plugin.name in outcome for plugin in plugins), f"the refusal does not name both: {outcome}"
    return isinstance(outcome, str)


def companions(made: Part) -> list[Maker]:
    """Every built-in plugin that may stand beside `made`, with default settings or cheap ones."""
    others = map(cheap, plugin_registry.names())
    if isinstance(made, Watch):
        return [other for other in others if type(other()) is not type(made)]
    return [other for other in others if part_name(make_plugin(other())) != part_name(made)]


def attempt(plugins: list[Part]) -> Any:
    """The outcome of a run, or the sentence with which it refused."""
    try:
        return fit_toy(plugins)
    except ConfigError as error:
        return str(error)


def plugin_name(plugin: Maker) -> str:
    """What to call it in a sentence."""
    return plugin().name
