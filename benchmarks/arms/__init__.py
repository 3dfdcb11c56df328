"""The arms of the comparison. Each is a function from a `BatchWork` to its final weights (their average, where one is kept)."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from torch import Tensor
from work import Work

Arm = Callable[[Work], list[Tensor]]

BASE, CONTROL = "hand", "hand again"
OURS, WATCHED = "accel", "accel, watched"
PEERS = {
    "Fabric": ("lightning", "arms.fabric"),
    "Lightning": ("lightning", "arms.lightning_trainer"),
    "Accelerate": ("accelerate", "arms.accelerate_loop"),
    "ignite": ("ignite", "arms.ignite_engine"),
}
"""The package that each needs, and the module with its arm."""


def find(peers: bool) -> tuple[dict[str, Arm], dict[str, str]]:
    """The arms that run here, by name, the hand-written loop first; and why the others do not."""
    from arms.hand import hand
    from arms.ours import silent, watched

    arms: dict[str, Arm] = {BASE: hand, CONTROL: hand, OURS: silent, WATCHED: watched}
    missing = {}
    for name, (package, module) in PEERS.items() if peers else ():
        if find_spec(package) is None:
            missing[name] = f"{package} is not installed: pip install 'accel-train[peers]'"
        else:
            arms[name] = import_module(module).arm
    return arms, missing
