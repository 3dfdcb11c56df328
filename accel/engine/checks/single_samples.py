"""BatchNorm and batches of one sample: refused in the first update, and not at the end of an epoch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.utils.data import DataLoader

from accel.data.batches.base import Batches, length_of
from accel.data.batches.ready import ReadyBatches
from accel.data.batches.sample_count import sample_count
from accel.engine.training_run import TrainingRun
from accel.errors import ConfigError
from accel.parts import Compile
from accel.system.call_stack import warn_user

__all__ = ["SingleSampleCheck", "batch_of_one", "watch_batch_norms"]


def batch_of_one(batches: Batches) -> str:
    """Return which batch of an epoch has one sample on some rank, in words; empty if none has, or if the data does not tell."""
    share, samples, size = batches.share, batches.samples, batches.batch_size
    if isinstance(batches, ReadyBatches):
        data = batches.data
        if isinstance(data, list | tuple) and data:
            return "the last of the data's batches has one sample" if sample_count(data[-1]) == (1, "", None) else ""
        if not isinstance(data, DataLoader) or not data.batch_size or data.drop_last:
            return ""
        samples, size = length_of(data.sampler), data.batch_size
        if samples is None or samples % size != 1:
            return ""
        return f"{samples:,} samples in batches of {size} leave a last one of 1; set drop_last=True in the DataLoader"
    if not samples or not size:
        return ""
    if size == 1:
        return "batch_size=1 gives batches of one sample; set a larger batch_size"
    left = samples % (size * share.ranks)
    if not left or share.drop_last or left // share.ranks > 1:
        return ""
    shared = f" of {share.ranks} ranks" if share.ranks > 1 else ""
    return (
        f"{samples:,} samples in batches of {size}{shared} leave a last one of {left}, one sample for a rank; set "
        "drop_last=true, or another batch_size"
    )


class SingleSampleCheck:
    """Hook of a BatchNorm that refuses the run in its first pass, if a batch of one sample would give it one value per channel.

    Args:
        name: of the module.
        reason: the sentence on the batch to come.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        self.handle: Any = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Look at the shape of the first input in training, and go."""
        if not module.training:
            return
        self.handle.remove()
        shape = args[0].shape if args and isinstance(args[0], Tensor) else ()
        if len(shape) > 1 and shape[0] and args[0].numel() == shape[0] * shape[1]:
            raise ConfigError(f"the model's BatchNorm {self.name} needs more than one value per channel, and {self.reason}")


def watch_batch_norms(run: TrainingRun) -> None:
    """Let the first forward pass refuse a batch of one sample that would end the run later. Costs nothing where none comes."""
    reason = batch_of_one(run.train)
    if not reason:
        return
    for name, module in run.unwrapped_model.named_modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, SyncBatchNorm):
            continue
        if type(run.parts.compile) is not Compile:  # a compiled module does not call a hook that goes
            warn_user(f"the model has BatchNorm, which may need more than one value per channel, and {reason}")
            return
        check = SingleSampleCheck(name, reason)
        check.handle = module.register_forward_pre_hook(check)
