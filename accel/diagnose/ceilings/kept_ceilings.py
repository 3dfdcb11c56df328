"""Ceilings kept in the user's cache directory, one file for each machine, torch and number of threads."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import asdict, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from accel.diagnose.ceilings.machine_ceilings import MachineCeilings
from accel.diagnose.ceilings.measure_ceilings import COPIES, device_name, measure_ceilings, measure_product
from accel.report.other_load import BUSY, OtherLoad
from accel.system import atomic_files, disk_errors
from accel.system.cache_directory import cache_directory
from accel.system.call_stack import warn_user

__all__ = ["SCHEMA", "ceilings_file", "kept_ceilings", "read_ceilings", "write_ceilings"]

SCHEMA = 1


def kept_ceilings(device: torch.device, dtypes: Collection[str]) -> tuple[MachineCeilings, str]:
    """Return the ceilings of this machine, and how they are known, in words.

    Those that were measured before are taken; others are measured and kept, unless other processes took the cores meanwhile:
    what a busy machine does is not the most that it can.

    Args:
        device: the device.
        dtypes: names of floating-point types whose products are needed.
    """
    file = ceilings_file(device)
    known = read_ceilings(file)
    missing = [name for name in dtypes if known is None or name not in known.products]
    if known is not None and not missing:
        return known, "measured before on this machine"
    load = OtherLoad()
    if known is None:
        ceilings = measure_ceilings(device, missing)
    else:
        added = {name: measure_product(device, getattr(torch, name)) for name in missing}
        ceilings = replace(known, products={**known.products, **added})
    busy = load.percent()
    if busy is not None and busy >= BUSY:
        return ceilings, f"measured now, and not kept, for other processes took {busy:.0f} % of the cores"
    return ceilings, "measured now" + write_ceilings(file, ceilings)


def ceilings_file(device: torch.device) -> Path:
    """Return the file of the ceilings of a device, as this process may use it."""
    facts = [device_name(device), torch.__version__, torch.backends.cpu.get_cpu_capability()]
    if device.type == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        facts += [f"{torch.get_num_threads()} threads", f"{cores} cores"]
    else:
        facts.append(f"{torch.get_float32_matmul_precision()} products")
    digest = sha256("\0".join(map(str, facts)).encode()).hexdigest()
    return cache_directory("auto") / "ceilings" / f"{digest[:40]}.json"


def read_ceilings(file: Path) -> MachineCeilings | None:
    """Return the ceilings in a file; None if there is none, or it is not what `write_ceilings` writes."""
    try:
        content = json.loads(file.read_text())
        if content.pop("schema") != SCHEMA:
            return None
        content["copies"] = {int(size): speed for size, speed in content["copies"].items()}
        ceilings = MachineCeilings(**content)
        return ceilings if _is_sound(ceilings) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _is_sound(ceilings: MachineCeilings) -> bool:
    """Return whether ceilings from a file can be computed with."""
    numbers: list[Any] = [*ceilings.products.values(), *ceilings.copies.values(), ceilings.call]
    sizes = {size for sizes in COPIES.values() for size in sizes}
    whole = bool(ceilings.products) and bool(ceilings.copies) and set(ceilings.copies) <= sizes
    plain = isinstance(ceilings.device, str) and type(ceilings.threads) is int
    return whole and plain and all(type(number) in (int, float) and isfinite(number) and number > 0 for number in numbers)


def write_ceilings(file: Path, ceilings: MachineCeilings) -> str:
    """Keep ceilings, whole or not at all. Return `, and kept`; nothing if the folder cannot be written, which a warning says."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files.swapped_in(file) as temporary:
            temporary.write_text(json.dumps({"schema": SCHEMA, **asdict(ceilings)}, indent=1))
    except OSError as error:
        reason = disk_errors.disk_reason(error)
        fix = "make room, or name another place by XDG_CACHE_HOME"
        warn_user(f"{file.parent} cannot be written ({reason}), so each advise measures the machine anew; {fix}")
        return ""
    return ", and kept"
