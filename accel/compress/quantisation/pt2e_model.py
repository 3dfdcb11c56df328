"""torchao's converted graph of a model with layers of integers."""

from __future__ import annotations

from typing import Any

from torch import nn

from accel.compress.quantisation.captured_graph import capture
from accel.compress.quantisation.torchao_pt2e import convert_graph
from accel.compress.quantisation.trained_scales import plain_model, trained_scales
from accel.errors import ConfigError

__all__ = ["pt2e_model"]


def pt2e_model(model: nn.Module, inputs: tuple[Any, ...], dynamic_batch: bool = True) -> Any:
    """Return the graph that torchao's `convert_pt2e` makes of a model that `qat` has shipped. Its integers are those of the model.

    Args:
        model: the model of `shipped.safetensors`, on the CPU, which is left as it is.
        inputs: what a forward pass takes, tensors of two samples at least.
        dynamic_batch: whether the first dimension of the tensors may have another size later.

    Returns:
        A `torch.fx.GraphModule`, which is called as the model is. `torch.compile` makes kernels of its quantised operations
        (`torchao.quantization.pt2e.lowering.lower_pt2e_quantized_to_x86`), and so do other engines of torchao's.

    Raises:
        ConfigError: for a model that has no layer of integers, or that cannot be captured.
        ImportError: without torchao: `pip install 'accel-train[qat]'`.
    """
    scales = trained_scales(model)
    if not scales:
        raise ConfigError("the model has no layer of integers; give the one of shipped.safetensors, of a run with qat")
    return convert_graph(capture(plain_model(model), inputs, dynamic_batch=dynamic_batch), scales)
