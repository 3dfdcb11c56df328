"""The parts of a training step, in the order of the sentence. Each is its own plainest implementation; a plugin subclasses one."""

from accel.parts.activations import Activations
from accel.parts.augment import Augment
from accel.parts.average import Average
from accel.parts.backend import Backend
from accel.parts.clip import Clip
from accel.parts.compile import Compile
from accel.parts.grads import Grads
from accel.parts.guard import Guard
from accel.parts.layout import Layout
from accel.parts.loader import Loader
from accel.parts.objective import Objective
from accel.parts.optim import Optim
from accel.parts.order import Order
from accel.parts.parallel import Parallel
from accel.parts.part import Part
from accel.parts.precision import Precision
from accel.parts.prefetch import Prefetch
from accel.parts.probe import Probe, Trial
from accel.parts.rate import Rate
from accel.parts.run import Parts, Progress, Run
from accel.parts.schedule import Schedule
from accel.parts.shared.autocast import Autocast
from accel.parts.shared.cycle import Cycle
from accel.parts.source import Source
from accel.parts.transfer import Transfer
from accel.parts.update import Update
from accel.parts.watch import Watch
from accel.parts.window import Group, Micro, Window

__all__ = [
    "Activations", "Augment", "Autocast", "Average", "Backend", "Clip", "Compile", "Cycle", "Grads", "Group", "Guard", "Layout",
    "Loader", "Micro", "Objective", "Optim", "Order", "Parallel", "Part", "Parts", "Precision", "Prefetch", "Probe", "Progress",
    "Rate", "Run", "Schedule", "Source", "Transfer", "Trial", "Update", "Watch", "Window",
]  # fmt: skip
