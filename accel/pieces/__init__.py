"""Training in a loop of one's own: the run, its parts and its checkpoints are those of `Trainer`, and the forward pass is yours."""

from accel.pieces.own_loop import OwnLoop, begin
from accel.pieces.own_window import OwnWindow

__all__ = ["OwnLoop", "OwnWindow", "begin"]
