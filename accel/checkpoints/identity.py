"""Identity of a run: what it computes. A checkpoint is resumed only by a run of the same identity."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from inspect import Parameter, getattr_static, signature
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from accel.checkpoints.code.code_record import CODE, GIT
from accel.errors import nearest
from accel.parts import Part, Run
from accel.values import to_builtin, to_plain

__all__ = ["CACHED", "OFF", "arguments", "as_recorded", "content", "differences", "identity", "refused", "unknown", "versions"]

OFF = object()
CACHED = "Keeping"
"""The kind of every store with a cache around it, in checkpoints written before a cache had the kind of its inner store."""


def identity(run: Run, plugins: Sequence[Part], task: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Return the identity of a run as plain values. Plugins that change nothing, such as watches, are no part of it.

    Args:
        run: the run.
        plugins: the plugins that are on.
        task: the result of `Trainer.identity`.
        data: the result of `content`, by split.
    """
    changing = {plugin.name: to_plain(settings) for plugin in plugins if (settings := plugin.identity()) is not None}
    parts = {"seed": run.seed, "batch_size": run.batch_size, "plugins": changing, "task": to_plain(task), "data": data}
    following = (run.parts.schedule, run.parts.average, run.parts.pruning, run.parts.quantisation)
    if run.parts.augment.paced or any(part.follows_length for part in following):
        parts["updates"] = run.updates  # a run of another length has other learning rates, sizes of pictures, snapshots, or cuts
    return parts


def arguments(cls: type, base: type, args: tuple[Any, ...], kwargs: dict[str, Any], shared: bool = False) -> dict[str, Any]:
    """Return the arguments of `cls(*args, **kwargs)` by name, with defaults, without those of `base`; empty if the call fails.

    Args:
        cls: the class.
        base: a class above it.
        args: arguments by place.
        kwargs: arguments by name.
        shared: whether those count that both have, such as a name in `model` where `base` takes a module.
    """
    if getattr_static(cls, "__init__") is getattr_static(base, "__init__"):
        return {}
    own, inherited = (signature(getattr_static(kind, "__init__")) for kind in (cls, base))
    try:
        bound = own.bind(None, *args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    by_name = dict(list(bound.arguments.items())[1:])
    kept = set(own.parameters) if shared else set[str]()
    for parameter in bound.signature.parameters.values():
        if parameter.kind is Parameter.VAR_KEYWORD:
            by_name |= by_name.pop(parameter.name)  # what an intermediate class takes
    return {name: to_builtin(value) for name, value in by_name.items() if name in kept or name not in inherited.parameters}


def content(data: Any, samples: int | None, whole: bool = False) -> dict[str, Any]:
    """Return what tells whether data is the same, wherever it lies: its number of samples, and its fingerprint or outline.

    A fingerprint is kept under the `kind` of its store, or else the name of its class: that of a store and that of the files it was
    packed from cannot be compared. A cache has the kind of the store whose records it keeps.

    A Subset, a ConcatDataset and a DataLoader are looked through, and the indices of a Subset count.

    Args:
        data: the data.
        samples: its number of samples; None if that is not known.
        whole: whether the size of every file counts, as it did in earlier versions if there was a cache.
    """
    return {"samples": samples, **_fingerprints(data, whole)}


def as_recorded(recorded: dict[str, Any], now: dict[str, Any], data: Any) -> dict[str, Any]:
    """Return an identity in the form of a recorded one: with the whole fingerprint of its data, if a cache kept that.

    Args:
        recorded: the identity in a checkpoint.
        now: the identity of this run.
        data: its training data.
    """
    was, facts = recorded.get("data"), now.get("data")
    train = was.get("train") if isinstance(was, dict) else None
    if facts is None or not isinstance(train, dict) or CACHED not in train or not differences({"data": was}, {"data": facts}):
        return now
    return now | {"data": facts | {"train": content(data, facts["train"]["samples"], whole=True)}}


def _fingerprints(data: Any, whole: bool) -> dict[str, str]:
    """Return the fingerprints of data by kind, looking through what torch wraps around a data set; empty if it has none."""
    store = getattr(data, "store", data)
    tell = (None if whole else getattr(store, "outline", None)) or getattr(store, "fingerprint", None)
    if tell is not None:
        return {str(getattr(store, "kind", type(store).__name__)): str(tell())}
    if isinstance(data, ConcatDataset):
        parts = [_fingerprints(part, whole) for part in data.datasets]
        kinds = sorted({kind for part in parts for kind in part})
        texts = {kind: "\n".join(part.get(kind, "") for part in parts) for kind in kinds}
        return {kind: hashlib.sha256(text.encode()).hexdigest() for kind, text in texts.items()} if all(parts) else {}
    inner = _fingerprints(data.dataset, whole) if isinstance(data, Subset | DataLoader) and data.dataset is not None else {}
    if inner and isinstance(data, Subset):
        inner["indices"] = hashlib.sha256(np.asarray(data.indices, np.int64).tobytes()).hexdigest()
    return inner


def versions(device: torch.device) -> dict[str, str]:
    """Return the versions that the last bits of a run depend on, beside its identity."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
    names = {"accel": _accel_version(), "torch": torch.__version__, "python": platform.python_version(), "device": kind}
    return names if device.type == "cuda" else names | {"threads": str(torch.get_num_threads())}


@cache  # it is read from a file
def _accel_version() -> str:
    try:
        return version("accel-train")
    except PackageNotFoundError:
        return "unknown"


def differences(was: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the differences of two identities, in words, by dotted name. Code is not looked at: `changed_code` compares it."""
    changes: dict[str, str] = {}
    names = [*now, *(name for name in was if name not in now)]
    for name in names if prefix else (name for name in names if name not in (CODE, GIT)):
        key, before, after = f"{prefix}{name}", was.get(name, OFF), now.get(name, OFF)
        if isinstance(before, dict) and isinstance(after, dict):
            before = _look_through_cache(before, after) if prefix == "data." else before
            changes |= differences(before, after, f"{key}.")
        elif key == "plugins.workers" and OFF in (before, after):
            continue  # in checkpoints written when workers had random numbers of their own
        elif key == "updates" and after is OFF:
            continue  # in checkpoints written when each schedule was taken to follow the length of the run
        elif prefix == "plugins." and OFF in (before, after):
            changes[key] = "was off and is now on" if before is OFF else "was on and is now off"
        elif prefix.startswith("data.") and OFF in (before, after):
            continue  # read from elsewhere, such as a store in place of files: their fingerprints cannot be compared
        elif before != after:
            before, after = _entries_apart(before, after)
            changes[key] = f"was {_shown(before)} and is now {_shown(after)}"
    return changes


def _look_through_cache(was: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return the old facts of a data set, with the fingerprint of a cached store under the kind of the store that is read now."""
    kind = next((name for name in now if name != "samples"), CACHED)
    return {kind if name == CACHED else name: value for name, value in was.items()}


def _entries_apart(was: Any, now: Any) -> tuple[Any, Any]:
    """Return of two lists of rules, as those of `freeze`, the entries that the other has not; any other values as they are."""
    if not (isinstance(was, list) and isinstance(now, list) and any(isinstance(entry, dict) for entry in [*was, *now])):
        return was, now
    lost, new = [entry for entry in was if entry not in now], [entry for entry in now if entry not in was]
    return (lost, new) if lost and new else (was, now)


def _shown(value: Any) -> str:
    text = "not set" if value is OFF else "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def refused(changes: dict[str, str], allow: Sequence[str]) -> dict[str, str]:
    """Return the differences that are not accepted. `allow` holds names, or beginnings of names up to a dot."""
    return {key: words for key, words in changes.items() if not any(f"{key}.".startswith(f"{name}.") for name in allow)}


def unknown(allow: Sequence[str], was: dict[str, Any], now: dict[str, Any]) -> str:
    """Return a sentence on the first name in `allow` that neither identity has; an empty text if there is none."""
    known = {*_names(was), *_names(now)}
    misnamed = next((name for name in allow if name not in known), None)
    return "" if misnamed is None else f"{misnamed!r} is nothing that a run is told by{nearest(misnamed, sorted(known))}"


def _names(identity: dict[str, Any], prefix: str = "") -> list[str]:
    inner = [_names(value, f"{prefix}{name}.") for name, value in identity.items() if isinstance(value, dict)]
    return [f"{prefix}{name}" for name in identity] + [name for names in inner for name in names]
