"""Weights that a model is given from outside: files of any program, runs, other names for them, and how they fit a model."""

from accel.checkpoints.given_weights.fitted_weights import Fit, fit_weights
from accel.checkpoints.given_weights.given_names import likely_rename, without_shared_prefix
from accel.checkpoints.given_weights.rename_rules import RenameRule, read_rename, renamed
from accel.checkpoints.given_weights.weights_source import GivenWeights, given_structure, given_weights

__all__ = [
    "Fit", "GivenWeights", "RenameRule", "fit_weights", "given_structure", "given_weights", "likely_rename", "read_rename",
    "renamed", "without_shared_prefix",
]  # fmt: skip
