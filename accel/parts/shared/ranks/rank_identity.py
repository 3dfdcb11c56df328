"""Identity of each rank: ranks that train together must be one run, with the same task, settings, model and data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import torch

from accel.data.batches.base import Batches
from accel.data.batches.mapped import MapBatches
from accel.data.content_digest import content_digest
from accel.device.rng import seeded
from accel.errors import ConfigError, listed
from accel.parts.input import Loader, Prefetch, Source, Transfer
from accel.parts.parallel import Parallel
from accel.parts.part import Part
from accel.parts.run import Run
from accel.parts.watch import Watch
from accel.schema.settings import Settings, typed_name
from accel.system.call_stack import warn_user
from accel.values import to_plain

__all__ = ["READERS", "SAMPLES", "compare", "compare_content", "compare_first_batch", "settings_of_all_ranks"]

OFF = object()
SAMPLES = 2
"""Samples of a map-style data set that are read for the comparison, each twice: what is drawn at random cannot be compared."""
IN_MEMORY = 2**24
"""Bytes of tensors in memory that are compared as a whole: it takes some milliseconds."""
CONTENT = "content of the first samples"
COMPARED = (
    "epochs", "updates", "max_samples", "max_tokens", "max_seconds", "batch_size", "seed", "evaluate_every", "evaluate_epochs",
    "evaluate_batches", "checkpoint_every", "checkpoint_best", "bad_data", "bad_limit", "dry_run", "init_strict", "init_rename",
    "freeze",
)  # fmt: skip
"""Settings that every rank must have. Where a rank writes, what it may resume by, and its device are its own."""
READERS = (Source, Loader, Prefetch, Transfer, Watch)
"""Parts that may differ from rank to rank: they decide from where data is read, how fast, and who watches."""


def settings_of_all_ranks(settings: Settings, parallel: Parallel, plugins: Sequence[Part], device: torch.device) -> Settings:
    """Return the settings to train with: those of this rank, with the run directory of the first.

    Args:
        settings: the settings of this rank.
        parallel: the ranks.
        plugins: the plugins that are on.
        device: the device of this rank.

    Raises:
        ConfigError: on every rank, if they have other plugins or settings.
    """
    if not parallel.one_run or parallel.world_size == 1:
        return settings
    facts = {typed_name(name): getattr(settings, name) for name in COMPARED}
    facts["checkpoint.minutes"] = "set" if settings.checkpoint_minutes is not None else None
    facts["resume"] = "set" if settings.resume is not None else None
    facts["device"] = device.type
    facts["plugins"] = {
        plugin.name: plugin.settings if plugin is parallel else plugin.identity() or {}
        for plugin in plugins
        if not isinstance(plugin, READERS)
    }
    compare(parallel, facts)
    return replace(settings, out=parallel.gather(settings.out)[0])


def compare_content(run: Run, task: dict[str, Any], code: dict[str, str] | None = None) -> None:
    """Raise ConfigError on every rank, if they have another task, model or other data.

    Args:
        run: the run, its data open and its model not yet wrapped for the ranks.
        task: the result of `Trainer.identity`.
        code: digests of the task's source, by name.
    """
    if not run.parts.parallel.one_run or run.parts.parallel.world_size == 1:
        return
    state = [*run.unwrapped_model.named_parameters(), *run.unwrapped_model.named_buffers()]
    model = {name: f"{tuple(value.shape)} {str(value.dtype)[6:]}{' trained' * value.requires_grad}" for name, value in state}
    data = {"train": {**getattr(run, "data_identity", {}).get("train", {}), **_data_facts(run, run.train)}}
    data |= {split: _data_facts(run, batches) for split, batches in run.held_out_sets.items()}
    compare(run.parts.parallel, {"task": to_plain(task), "code": code or {}, "model": model, "data": data})


def _data_facts(run: Run, batches: Batches) -> dict[str, Any]:
    """Return number of samples and batches, and of map-style data the digests of the first samples in its first order."""
    facts: dict[str, Any] = {"samples": batches.samples, "batches": batches.count}
    if batches.own_split is not None:
        facts["samples of a rank"] = batches.own_split.samples
    if isinstance(batches, MapBatches) and batches.in_memory and sum(one.nbytes for one in batches.data.tensors) <= IN_MEMORY:
        facts[CONTENT] = content_digest(batches.data.tensors)
    elif isinstance(batches, MapBatches):
        order = batches.order(batches.samples, batches.seed, 0) if batches.shuffle else torch.arange(batches.samples)
        keys = order[:SAMPLES]
        facts["first samples"] = keys.tolist()
        with run.random.preserved(), seeded(batches.seed):
            facts[CONTENT] = _same_twice(lambda: [_read(batches, int(key)) for key in keys], batches.seed)
    return facts


def _read(batches: MapBatches, key: int) -> Any:
    return tuple(tensor[key] for tensor in batches.data.tensors) if batches.in_memory else batches.sample(0, key)


def _same_twice(read: Any, seed: int) -> str | None:
    """Return the digest of what is read; None where a second reading gives something else, or none can be made."""
    digests = set()
    for _ in range(2):
        with suppress(Exception), seeded(seed):  # a sample that cannot be read has a rule of its own, when its turn comes
            digests.add(content_digest(read()))
    return digests.pop() if len(digests) == 1 else None


def compare_first_batch(run: Run, batches: Batches) -> None:
    """Compare what the ranks have read first, of data that comes in its own order. Every rank must call it, after `epoch`.

    Raises:
        ConfigError: on every rank, if they have read something else.
    """
    parallel, first = run.parts.parallel, batches.first_digest
    if not parallel.one_run or parallel.world_size == 1 or batches.is_compared or isinstance(batches, MapBatches):
        return
    batches.is_compared = True
    digests = parallel.gather(first)
    differing = [rank for rank, digest in enumerate(digests) if digest != digests[0]]
    if not differing or batches.own_split is not None:
        return
    if all(parallel.gather(batches.digest_again() == first)):
        raise ConfigError(
            f"{parallel.name}: rank {differing[0]} reads another first batch than rank 0: the data divides itself by rank, or is "
            "not in the same order on each; give every rank all of the data in one order (each takes its part of it), without "
            "split_by_node and the like, or a DataLoader with a DistributedSampler"
        )
    if parallel.rank == 0:
        warn_user(
            f"{parallel.name}: the first batch of the data is another each time it is read, so that it cannot be seen whether all "
            "ranks read it in one order; let it draw from the global generators, which are seeded alike"
        )


def compare(parallel: Parallel, facts: dict[str, Any]) -> None:
    """Raise ConfigError on every rank, with what differs, if the facts of the ranks differ. Every rank must call it.

    A digest travels; the facts themselves do where digests differ. None as a fact is nothing known, and differs from nothing.
    """
    digest = sha256(json.dumps(to_plain(facts), sort_keys=True, default=str).encode()).hexdigest()
    if len(set(parallel.gather(digest))) == 1:
        return
    ranks = [_flat(facts) for facts in _with_plugins_off(parallel.gather(to_plain(facts)))]
    sentences = []
    for name in dict.fromkeys(name for rank in ranks for name in rank):
        values = [rank.get(name, OFF) for rank in ranks]
        if len({str(value) for value in values}) > 1 and not (name.startswith("data.") and {None, OFF} & {*map(_key, values)}):
            sentences.append(_sentence(name, values))
    if sentences:
        shown = listed(sentences, 5, "; ")
        raise ConfigError(
            f"{parallel.name}: the ranks are not one run: {shown}; start every rank with the same command, code and whole data"
        )


def _with_plugins_off(ranks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the facts of the ranks where a plugin that some have and others have not is on or off, and nothing else."""
    plugins = [rank.get("plugins", {}) for rank in ranks]
    some = {name for rank in plugins for name in rank if not all(name in other for other in plugins)}
    return [
        {**facts, "plugins": {**rank, **{name: "on" if name in rank else "off" for name in some}}}
        for facts, rank in zip(ranks, plugins, strict=True)
    ]


def _key(value: Any) -> Any:
    return value if value is None or value is OFF else ""


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested facts by dotted name. A plugin without settings is a fact too."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _sentence(name: str, values: list[Any]) -> str:
    """Return which ranks have which value, in words."""
    if name.startswith("code."):
        return f"the code of {name.removeprefix('code.')} is not the same"
    if name.endswith(CONTENT):
        return f"{name.removesuffix(CONTENT).rstrip('.')} holds other samples"
    ranks: dict[str, list[str]] = {}
    for rank, value in enumerate(values):
        ranks.setdefault(_shown(value), []).append(str(rank))
    words = [f"{value} on rank{'s' * (len(numbers) > 1)} {', '.join(numbers)}" for value, numbers in ranks.items()]
    return f"{name} is {' and '.join(words)}"


def _shown(value: Any) -> str:
    text = "not set" if value is OFF else "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
