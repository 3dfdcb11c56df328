"""Fold_bn: BatchNorms folded into the layers before them, for evaluation and in what is shipped.

In evaluation a BatchNorm multiplies and shifts each channel by fixed numbers. A
layer before it, whose output goes nowhere else, can do so with its own weights:
convolutions of 1, 2 and 3 dimensions, transposed ones, and Linear before
BatchNorm1d. The plugin lets the evaluations of a run compute that way, and the run
directory has the model without those norms in `shipped.safetensors`. Training is
the same to the bit.

Helps   the speed of what is shipped, and with it the speed of evaluations.
Hurts   nothing in training. In 16 bit, kernels are rounded once more.
Costs   each evaluation: one multiplication of each kernel.
Source  Ioffe and Szegedy, arXiv 1502.03167, section 3.1; Jacob et al., arXiv
        1712.05877, equation 14.
Exact   within 1e-5 of the largest output in float32: kernels are multiplied in
        float64, and rounded once. A Linear, or a convolution of 1 dimension, is
        folded in what is shipped if an evaluation has seen that its inputs have
        their channels where the norm has them: (N, C), or (N, C, L). Evaluations on
        several ranks compute with the norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accel.compress.conv_norm_pairs import conv_norm_pairs
from accel.compress.fold_norms import fold_norms, norms_folded, place_folded, why_not_folded
from accel.compress.input_ranks import is_rank_certain
from accel.errors import ConfigError
from accel.parts import Folding, Shipped

if TYPE_CHECKING:
    from torch import nn

    from accel.parts import Run

__all__ = ["FoldBN"]


@dataclass(eq=False)
class FoldBN(Folding):
    """BatchNorms folded into the layers before them, for evaluation and in what is shipped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pairs: dict[str, str] = {}
        """The norm after each layer that it can be folded into, by names."""
        self.doubtful: set[str] = set()
        """Those of these layers whose inputs may have another rank."""
        self.folded: dict[str, str] = {}
        """Those that are folded already, in the model that the run has begun with."""

    def model(self, model: nn.Module, structure: dict[str, Any] | None) -> nn.Module:
        known = structure or {}
        self.folded = dict(known.get("folded", {}))
        self.pairs = {layer: norm for layer, norm in conv_norm_pairs(model).items() if not why_not_folded(model, layer, norm)}
        self.doubtful = {
            layer
            for layer, norm in self.pairs.items()
            if not is_rank_certain(model.get_submodule(norm)) and known.get("pairs", {}).get(layer) != norm
        }
        return model

    def structure(self) -> dict[str, Any]:
        pairs = {layer: norm for layer, norm in self.pairs.items() if layer not in self.doubtful}
        return {name: known for name, known in (("pairs", pairs), ("folded", self.folded)) if known}

    @classmethod
    def rebuild(cls, model: nn.Module, structure: dict[str, Any]) -> nn.Module:
        for layer, norm in structure.get("folded", {}).items():
            try:
                model = place_folded(model, layer, norm)
            except (AttributeError, TypeError) as error:
                raise ConfigError(
                    f"its norm {norm} was folded into {layer}, and this model has no such layers; give the model of the run"
                ) from error
        return model

    @classmethod
    def ship(cls, model: nn.Module, structure: dict[str, Any]) -> Shipped:
        model, folded = fold_norms(model, structure.get("pairs", {}))
        return Shipped(model, {"folded": structure.get("folded", {}) | folded})

    @contextmanager
    def evaluating(self, run: Run) -> Iterator[None]:
        if run.parts.parallel.world_size > 1:  # the statistics of the first rank reach the others in the forward pass
            yield
            return
        with norms_folded(run.unwrapped_model, self.pairs) as ranks:
            yield
        for layer, fits in ranks.items():
            self.doubtful.discard(layer)
            if not fits:
                del self.pairs[layer]

    def capture_blocker(self) -> str:
        return ""

    def plan_notes(self) -> Mapping[str, str]:
        return {"fold_bn": f"{len(self.pairs)} BatchNorms folded for evaluation, and in shipped.safetensors"} if self.pairs else {}

    def ineffective_settings(self, run: Run) -> list[str]:
        if self.pairs or self.folded:
            return []
        return [
            "fold_bn has no effect: the model has no BatchNorm that sees the output of one layer alone, and can be folded into it"
        ]
