"""Weights that are handed out: as they are evaluated, their files, and which are the best."""

from accel.checkpoints.weights.best_metric import BestMetric
from accel.checkpoints.weights.best_weights import BEST, BestWeights, read_best
from accel.checkpoints.weights.evaluated_weights import evaluated_weights
from accel.checkpoints.weights.weights_file import storable_tensors, write_weights

__all__ = ["BEST", "BestMetric", "BestWeights", "evaluated_weights", "read_best", "storable_tensors", "write_weights"]
