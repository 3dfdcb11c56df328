"""Updates that are spoilt by a number that is not finite."""

from __future__ import annotations

from collections.abc import Callable

from accel.parts import Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD

OPTIMISERS: dict[str, Callable[[], Part]] = {
    "sgd": SGD,
    "sgd not fused": lambda: SGD(fused=False),
    "adamw": AdamW,
    "adamw not fused": lambda: AdamW(fused=False),
    "lamb": LAMB,
    "lars": LARS,
    "muon": Muon,
    "schedule_free": ScheduleFree,
}
BESIDE: dict[str, Callable[[], list[Part]]] = {
    "alone": list,
    "clip norm": lambda: [Clip(max_norm=0.5)],
    "clip value": lambda: [Clip(mode="value", max_value=0.01)],
    "accumulate": lambda: [Accumulate(steps=2)],
    "float16": lambda: [AMP(dtype="float16", force=True)],
    "masters": lambda: [MasterWeights()],
}
