"""One cut of a model, and of whatever is kept of each of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from accel.compress.pruning.kept_channels import Kept
from accel.compress.pruning.layer_channels import Side, channel_dims, resize
from accel.errors import ConfigError

__all__ = ["ModelCut", "widened"]


class ModelCut:
    """Cut of a model down to the channels that are kept.

    Args:
        model: the model before the cut.
        kept: the channels that stay, counted as they are in it.
    """

    def __init__(self, model: nn.Module, kept: Kept) -> None:
        self.kept = kept
        self.indices: dict[str, dict[int, Tensor]] = {}
        """What is left of a tensor: indices, (n,) int64, by dimension, by the name of the tensor."""
        self.shapes: dict[str, torch.Size] = {}
        """Shape of each of these tensors before the cut."""
        for path, sides in kept.items():
            layer = model.get_submodule(path)
            for side, channels in sides.items():
                for key, dim in channel_dims(layer)[side].items():
                    name = f"{path}.{key}".removeprefix(".")
                    self.indices.setdefault(name, {})[dim] = torch.tensor(channels)
                    self.shapes[name] = getattr(layer, key).shape

    def __call__(self, name: str, tensor: Tensor) -> Tensor | None:
        """Return what is left of a tensor that is kept of another: a moment of a weight, or an average of it.

        It is cut like the tensor that it is kept of, in each dimension in which it is as long. A single number stays.

        Args:
            name: name of the parameter or buffer that it is kept of.
            tensor: the tensor, which is returned itself if nothing of it goes.

        Returns:
            The slices, in the same memory layout; None if its shape has nothing to do with that of the parameter.
        """
        indices = self.indices.get(name, {})
        shape = self.shapes.get(name, tensor.shape)
        if tensor.dim() != len(shape) or any(size not in (1, full) for size, full in zip(tensor.shape, shape, strict=True)):
            return tensor if tensor.numel() == 1 else None
        for dim, channels in indices.items():
            if tensor.shape[dim] == shape[dim]:
                tensor = _sliced(tensor, dim, channels)
        return tensor

    @torch.no_grad()
    def apply(self, model: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        """Cut a model in place: its modules stay, with other parameters and buffers.

        Returns:
            By name, each parameter that goes, and the one in its place, which has no gradient.
        """
        pairs: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
        for name in self.indices:
            path, _, key = name.rpartition(".")
            layer = model.get_submodule(path)
            param, buffer = layer._parameters.get(key), layer._buffers.get(key)
            if param is not None:
                left = self(name, param.detach())
                assert left is not None
                layer._parameters[key] = new = nn.Parameter(left, requires_grad=param.requires_grad)
                pairs[name] = param, new
            elif buffer is not None:
                layer._buffers[key] = self(name, buffer)
        for path, sides in self.kept.items():
            layer = model.get_submodule(path)
            for side, channels in sides.items():
                resize(layer, side, len(channels))
        return pairs

    @torch.no_grad()
    def zero(self, model: nn.Module) -> None:
        """Make zeros of the weights that a cut takes away: the model then computes what it computes after the cut."""
        for name, param in model.named_parameters():
            self.mask(name, param)

    def mask(self, name: str, tensor: Tensor) -> Tensor:
        """Make zeros, in place, of what a cut takes away of a tensor of the parameter's shape, and return it."""
        for dim, channels in self.indices.get(name, {}).items():
            gone = torch.ones(tensor.shape[dim], dtype=torch.bool)
            gone[channels] = False
            tensor.index_fill_(dim, gone.nonzero().flatten().to(tensor.device), 0)
        return tensor


def widened(model: nn.Module, kept: Kept, counts: Mapping[str, Mapping[Side, int]]) -> nn.Module:
    """Return a copy of a model that has been cut with all the channels that it had, those that went with zeros.

    Args:
        model: the model.
        kept: the channels that it has left.
        counts: how many there were, by path and side of a layer. A norm that was folded into another layer is gone.

    Raises:
        ConfigError: for a layer whose weights are no floats any more.
    """
    copy = deepcopy(model)
    for path, sides in kept.items():
        layer = copy.get_submodule(path)
        dims = channel_dims(layer)
        if isinstance(layer, nn.Identity):
            continue
        if not dims:
            raise ConfigError(
                f"prune: the run begins with {path} as a {type(layer).__name__}, which cannot be cut; begin with the run that made "
                "it, by init=RUN in place of its shipped.safetensors"
            )
        for side, channels in sides.items():
            for key, dim in dims[side].items():
                tensor = getattr(layer, key).detach()
                shape = [*tensor.shape]
                shape[dim] = counts[path][side]
                wide = tensor.new_zeros(shape).index_copy_(dim, torch.tensor(channels, device=tensor.device), tensor)
                if key in layer._parameters:
                    layer._parameters[key] = nn.Parameter(wide)
                else:
                    layer._buffers[key] = wide
            resize(layer, side, counts[path][side])
    return copy


def _sliced(tensor: Tensor, dim: int, indices: Tensor) -> Tensor:
    """Return the slices of a tensor at indices of a dimension, in the memory layout that the tensor has."""
    left = tensor.index_select(dim, indices.to(tensor.device)).contiguous()
    if tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        return left.contiguous(memory_format=torch.channels_last)
    return left
