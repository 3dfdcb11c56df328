"""torchao's PT2E: its conversion of a captured graph to quantised operations, and its histograms of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from accel.compress.quantisation.captured_graph import layer_calls, quiet
from accel.compress.quantisation.levels import INPUT_LEVELS, WEIGHT_LEVELS

__all__ = ["LayerScales", "convert_graph", "histogram_observer"]


class LayerScales(NamedTuple):
    """Scales of a layer."""

    kind: str
    """Type of the integers of its inputs."""
    scale: float
    """Of its inputs."""
    zero_point: int
    """Of its inputs."""
    weight_scale: Tensor
    """Of its filters, (C_out,) float32, above 0."""


def histogram_observer(kind: str) -> Any:
    """Return torchao's observer that keeps a histogram of inputs, for integers of a type."""
    with quiet():  # it tells of kernels for other machines
        from torchao.quantization.pt2e import HistogramObserver  # an extra; the plugin says so if it is missing

    least, most = INPUT_LEVELS[kind]
    dtype = getattr(torch, kind)
    observer = HistogramObserver(dtype=dtype, qscheme=torch.per_tensor_affine, quant_min=least, quant_max=most)
    observer.register_load_state_dict_pre_hook(_copy_ends)
    return observer


def _copy_ends(observer: Any, *_: Any) -> None:
    """Give an observer copies of the very tensors that torchao's has just taken from the loaded state: it fails on views."""
    for name in ("min_val", "max_val"):
        setattr(observer, name, getattr(observer, name).detach().to(observer.histogram.device, copy=True))


def convert_graph(graph: Any, scales: Mapping[str, LayerScales]) -> Any:
    """Return a captured graph in which `convert_pt2e` has made integers of the weights of layers, and quantised their inputs.

    Args:
        graph: the graph, a `torch.fx.GraphModule` by `torch.export`.
        scales: of layers, by their names.
    """
    with quiet():
        from torchao.quantization.pt2e import PerChannelMinMaxObserver
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
        from torchao.quantization.pt2e.quantizer import (
            FixedQParamsQuantizationSpec,
            QuantizationAnnotation,
            QuantizationSpec,
            Quantizer,
        )

    class PerChannelFixedObserver(PerChannelMinMaxObserver):  # type: ignore[misc]  # torchao has no types
        """Observer that gives the scales of the training: those of the weights it sees may be another by their last bit."""

        def __init__(self, scale: Tensor, **settings: Any) -> None:
            super().__init__(**settings)
            self.fixed = scale

        def calculate_qparams(self) -> tuple[Tensor, Tensor]:
            return self.fixed, torch.zeros_like(self.fixed, dtype=torch.int64)

    class LayerQuantizer(Quantizer):  # type: ignore[misc]
        """Quantizer of the inputs and the weights of layers that are named, and of nothing else."""

        def annotate(self, model: Any) -> Any:
            for name, nodes in layer_calls(model).items():
                for node in nodes if name in scales else ():
                    of = scales[name]
                    x = FixedQParamsQuantizationSpec(
                        getattr(torch, of.kind), of.scale, of.zero_point, *INPUT_LEVELS[of.kind], torch.per_tensor_affine
                    )
                    observer = PerChannelFixedObserver.with_args(scale=of.weight_scale)
                    weight = QuantizationSpec(torch.int8, observer, *WEIGHT_LEVELS, torch.per_channel_symmetric, 0)
                    node.meta["quantization_annotation"] = QuantizationAnnotation(
                        input_qspec_map={node.args[0]: x, node.args[1]: weight}, _annotated=True
                    )
            return model

        def validate(self, model: Any) -> None: ...

    return convert_pt2e(prepare_pt2e(graph, LayerQuantizer()))
