"""What makes a run the run it is: a checkpoint goes on only in a run of the same identity."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from inspect import Parameter, getattr_static, signature
from typing import Any

import torch

from accel.errors import nearest
from accel.parts import Part, Run, Schedule
from accel.values import to_plain

OFF = object()


def identity(run: Run, plugins: Sequence[Part], task: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Plain values; plugins that change nothing, such as watches, are no part of it, nor is where data lies.

    Args:
        run: the run.
        plugins: those that are on.
        task: what `Trainer.identity` gives.
        data: what `content` gives, by split.
    """
    changing = {plugin.name: to_plain(its) for plugin in plugins if (its := plugin.identity()) is not None}
    found = {"seed": run.seed, "batch_size": run.batch_size, "plugins": changing, "task": to_plain(task), "data": data}
    if type(run.parts.schedule) is not Schedule or run.parts.augment.paced:
        found["updates"] = run.updates  # a schedule of another length has other learning rates, or sizes of pictures
    return found


def arguments(cls: type, base: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """By name what `cls(*args, **kwargs)` is made with, defaults included, without what its `base` takes; empty where it fails."""
    its, others = (signature(getattr_static(kind, "__init__")) for kind in (cls, base))
    try:
        bound = its.bind(None, *args, **kwargs)
    except TypeError:
        return {}
    bound.apply_defaults()
    found = dict(list(bound.arguments.items())[1:])
    for parameter in bound.signature.parameters.values():
        if parameter.kind is Parameter.VAR_KEYWORD:
            found |= found.pop(parameter.name)  # what an intermediate class takes
    return {name: value for name, value in found.items() if name not in others.parameters}


def content(data: Any, samples: int | None) -> dict[str, Any]:
    """What tells whether data is the same wherever it lies: how many samples, and its own `fingerprint()` or `outline()`.

    A fingerprint is kept under the `kind` of its store, or else the name of its class: that of a store and that of the files it was
    packed from are no rivals. A cache has the kind of the store whose records it keeps.
    """
    found: dict[str, Any] = {"samples": samples}
    store = getattr(data, "store", data)
    tell = getattr(store, "outline", None) or getattr(store, "fingerprint", None)
    kind = getattr(store, "kind", type(store).__name__)
    return found | {str(kind): str(tell())} if tell is not None else found


def versions(device: torch.device) -> dict[str, str]:
    """What the last bits of a run depend on beside its identity."""
    try:
        ours = version("accel-train")
    except PackageNotFoundError:
        ours = "unknown"
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
    found = {"accel": ours, "torch": torch.__version__, "python": platform.python_version(), "device": kind}
    return found if device.type == "cuda" else found | {"threads": str(torch.get_num_threads())}


def differences(was: dict[str, Any], now: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Everything in which two identities differ: by its dotted name, in words."""
    found: dict[str, str] = {}
    for name in [*now, *(name for name in was if name not in now)]:
        key, before, after = f"{prefix}{name}", was.get(name, OFF), now.get(name, OFF)
        if isinstance(before, dict) and isinstance(after, dict):
            found |= differences(before, after, f"{key}.")
        elif prefix == "plugins." and OFF in (before, after):
            found[key] = "was off and is now on" if before is OFF else "was on and is now off"
        elif prefix.startswith("data.") and OFF in (before, after):
            continue  # read from elsewhere, such as a store in place of files: their fingerprints cannot be compared
        elif before != after:
            found[key] = f"was {_shown(before)} and is now {_shown(after)}"
    return found


def _shown(value: Any) -> str:
    text = "not set" if value is OFF else "null" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def refused(found: dict[str, str], allow: Sequence[str]) -> dict[str, str]:
    """Those of the differences that nobody has accepted; `allow` has names, or what names begin with up to a dot."""
    return {key: words for key, words in found.items() if not any(f"{key}.".startswith(f"{name}.") for name in allow)}


def unknown(allow: Sequence[str], was: dict[str, Any], now: dict[str, Any]) -> str:
    """The first name in `allow` that an identity does not have, with the nearest that it has; empty where it has all."""
    known = {*_names(was), *_names(now)}
    odd = next((name for name in allow if name not in known), None)
    return "" if odd is None else f"{odd!r} is nothing that a run is told by{nearest(odd, sorted(known))}"


def _names(found: dict[str, Any], prefix: str = "") -> list[str]:
    inner = [_names(value, f"{prefix}{name}.") for name, value in found.items() if isinstance(value, dict)]
    return [f"{prefix}{name}" for name in found] + [name for names in inner for name in names]
