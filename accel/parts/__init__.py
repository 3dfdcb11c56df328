"""Parts of a training step. Each base class is its own plainest implementation; a plugin is a subclass of one of them."""

from accel.parts.all_parts import Parts
from accel.parts.grads import Grads
from accel.parts.input import Augment, Loader, Order, Prefetch, Source, Transfer
from accel.parts.model import Activations, Average, Backend, Compile, Layout
from accel.parts.model_shape.replacement import Replacement
from accel.parts.model_shape.shape import Branches, Folding, Pruning, Quantisation, Shape, Shipped
from accel.parts.optim import Optim
from accel.parts.parallel import Parallel
from accel.parts.part import Part
from accel.parts.precision import Precision
from accel.parts.run import Progress, Run
from accel.parts.schedule import Rate, Schedule
from accel.parts.shared.autocast import Autocast
from accel.parts.shared.cycle import Cycle
from accel.parts.update import Clip, Guard, Objective, Update
from accel.parts.watch import Probe, Stop, Trial, Watch
from accel.parts.window import Group, Micro, Window

__all__ = [
    "Activations", "Augment", "Autocast", "Average", "Backend", "Branches", "Clip", "Compile", "Cycle", "Folding", "Grads",
    "Group", "Guard", "Layout", "Loader", "Micro", "Objective", "Optim", "Order", "Parallel", "Part", "Parts", "Precision",
    "Prefetch", "Probe", "Progress", "Pruning", "Quantisation", "Rate", "Replacement", "Run", "Schedule", "Shape", "Shipped",
    "Source", "Stop", "Transfer", "Trial", "Update", "Watch", "Window",
]  # fmt: skip
