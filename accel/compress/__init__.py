"""What shapes a model while it trains, and makes it smaller or faster: modules and functions that know nothing of a run."""

from accel.compress.branched_conv import BranchedConv
from accel.compress.conv_norm_pairs import conv_norm_pairs
from accel.compress.fold_norms import fold_norms
from accel.compress.merge_branches import merge_branches
from accel.compress.quantisation.pt2e_model import pt2e_model

__all__ = ["BranchedConv", "conv_norm_pairs", "fold_norms", "merge_branches", "pt2e_model"]
