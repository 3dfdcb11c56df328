"""What a target is given to write integers of 8 bits: data to calibrate with, the layers that stay in floats, known scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the process that runs the files may have no torch
    from torch import Tensor

    from accel.compress.quantisation.torchao_pt2e import LayerScales

__all__ = ["Calibrate", "Quantisation"]

Calibrate = Literal["minmax", "entropy", "percentile"]
"""How the range of a tensor is taken from data: its ends; the range whose 8 bits lose the least information; all but the rarest."""


@dataclass(frozen=True)
class Quantisation:
    """How the layers of a model become integers of 8 bits. Weights have a scale for each filter, inputs one for each tensor.

    A layer is a convolution or a matrix product with weights, and is named as its module is in the model.
    """

    layers: tuple[str, ...]
    """Those that become integers, in the order of use. All others stay in floats."""
    calibrate: Calibrate = "minmax"
    calibration: tuple[tuple[Tensor, ...], ...] = ()
    """Batches of inputs, as the graph takes them, by which ranges are known; empty for `dynamic` and `weights`."""
    scales: Mapping[str, LayerScales] = field(default_factory=dict)
    """Of layers whose scales were trained, by name: these are taken, and nothing is calibrated."""
