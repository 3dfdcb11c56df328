"""A trained model that is only asked: in evaluation mode, in 16 bits where the device has them, without a gradient."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from accel.compress.product_parameters import find_product_params
from accel.device.cuda.bf16_support import describe_bf16_lack
from accel.device.out_of_memory import is_out_of_memory
from accel.errors import ConfigError

__all__ = ["Teacher", "digest_of", "teacher_dtype"]


class Teacher(nn.Module):
    """A trained model, which stays in evaluation mode and computes no gradients.

    Args:
        model: the model, which is changed: nothing of it is trained any more, and its products get 16-bit weights.
        title: what it is called in messages.
        dtype: the number format of its products, as of autocast; None for that of its weights.
        device: the device of the run.
    """

    def __init__(self, model: nn.Module, title: str, dtype: torch.dtype | None, device: torch.device) -> None:
        super().__init__()
        self.title, self.dtype, self.device = title, dtype, device
        self.model = model.to(device).eval().requires_grad_(False)
        if dtype is not None:
            for param in find_product_params(self.model):
                if param.dtype == torch.float32:
                    param.data = param.data.to(dtype)
        self.is_proven = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model does, a 16-bit tensor as float32. The first call shows whether it can take what the student does.

        Raises:
            ConfigError: if its first call fails.
        """
        with torch.no_grad(), self._cast():
            if self.is_proven:
                return _float32(self.model(*args, **kwargs))
            try:
                output = _float32(self.model(*args, **kwargs))
            except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
                if is_out_of_memory(error):
                    raise
                reason = " ".join(str(error).split())[:160]
                raise ConfigError(
                    f"distill.teacher={self.title} cannot take what the student is given ({reason}); take a teacher of the same "
                    "task, or define ask_teacher(teacher, calls, batch) in the task"
                ) from error
            self.is_proven = True
            return output

    def _cast(self) -> AbstractContextManager[Any]:
        """Return the autocast of the teacher, whatever that of the student is around it."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None, cache_enabled=False)


def _float32(output: Any) -> Any:
    """Return a 16-bit tensor as float32, and anything else as it is."""
    return output.float() if isinstance(output, Tensor) and output.is_floating_point() and output.element_size() < 4 else output


def teacher_dtype(setting: str, device: torch.device) -> torch.dtype | None:
    """Return the number format of a teacher's products; None for that of its weights.

    Args:
        setting: `auto`, which is bfloat16 where the device multiplies it by itself; or the name of the format.
        device: the device of the run.
    """
    if setting == "auto":
        return None if describe_bf16_lack(device) else torch.bfloat16
    dtype: torch.dtype | None = None if setting == "float32" else getattr(torch, setting)
    return dtype


def digest_of(model: nn.Module) -> str:
    """Return a digest of all weights and buffers of a model, with their names: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            dense = value.detach().cpu().contiguous()
            digest.update(f"{name} {dense.dtype} {tuple(dense.shape)}\0".encode())
            if dense.numel():
                digest.update(dense.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
