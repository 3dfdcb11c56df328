"""Processes that train together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from accel.errors import ConfigError, TrainingError
from accel.parts.part import Part
from accel.parts.run import Run
from accel.system.deprecation.old_attributes import MovedAttribute

__all__ = ["BUCKET", "NOTHING", "OtherRankFailed", "Outcome", "Parallel", "buckets"]

NOTHING = nullcontext()
Outcome = TypeVar("Outcome")
BUCKET = 25 * 2**20
"""Bytes; as in DistributedDataParallel."""


class OtherRankFailed(Exception):
    """What is tried in lockstep has failed on another rank."""


@dataclass(eq=False)
class Parallel(Part):
    """Processes (ranks) that train together; plainest: one. Methods that combine numbers must be called by every rank."""

    one_run: ClassVar[bool] = False
    """Whether the ranks must be one run, with the same task, settings and data, which is checked at the start."""
    shards: ClassVar[bool] = False  # whether each of several ranks has a share of the weights

    typical = MovedAttribute("window_samples")
    usual = MovedAttribute("reference")
    adding = MovedAttribute("all_reduce_async")
    about = MovedAttribute("reference_count")
    agree = MovedAttribute("vote")

    def setup(self, run: Run) -> None:
        self.device = run.device
        self.window_samples = run.batch_size * run.parts.group.size if run.uses_batch_size else None
        """Samples in the full window of a rank, the same on each; None if the data comes in ready batches."""
        self.reference: Tensor | None = None
        """Nominal number of items of a rank, a power of two, 0-dim, on the device; None until it is agreed on."""
        self.in_lockstep = False

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return 0

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return 1

    @property
    def mesh(self) -> Any:
        """DeviceMesh over which weights are sharded; None if each rank has all of them."""
        return None

    @property
    def saving(self) -> Any:
        """Process group of the threads that save; None if each rank has all that is saved."""
        return None

    @property
    def attempt(self) -> int:
        """Number of times that torchrun has restarted these processes."""
        return 0

    def join(self, device: torch.device) -> torch.device:
        """Join the other processes, before anything else is made, and return the device of this one."""
        return device

    def model(self, model: nn.Module) -> nn.Module:
        """Return the model, wrapped so that its gradients are averaged over the ranks."""
        return model

    def call(self, function: Callable[[nn.Module, Any], Outcome], model: nn.Module, batch: Any) -> Outcome:
        """Return `function(model, batch)`, a loss or metrics. The function is given the user's own model, with its attributes."""
        return function(model, batch)

    def gradient_leaves(self, params: Iterable[Tensor]) -> list[Tensor]:
        """Return the tensors in which a backward pass leaves the gradients of parameters, once a forward pass has run."""
        return list(params)

    def whole(self, model: nn.Module) -> nn.Module:
        """Return the model to hand out at the end, with whole weights, on the first rank at least. Every rank must call it."""
        return model

    def whole_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return a state with whole tensors, on the first rank at least. Every rank must call it."""
        return state

    def sync(self, last: bool) -> AbstractContextManager[None]:
        """Return a context for forward and backward of a micro-batch. Gradients are reduced only in the `last` of its window."""
        return NOTHING

    def sum(self, number: Tensor) -> Tensor:
        """Return the elementwise sum of a tensor over all ranks, on its device."""
        return number

    def all_reduce_async(self, number: Tensor) -> Callable[[], Tensor]:
        """Begin to sum a tensor over all ranks. Return a function that waits for the sum and returns it."""
        total = self.sum(number)
        return lambda: total

    def reference_count(self, items: Tensor) -> Tensor:
        """Return a typical number of items, the same on every rank, 0-dim, on the device.

        Several ranks communicate at the first micro-batch of a run alone, and keep the number. A process alone takes the items
        that it is given, unless a number was kept before (`keep_reference`).
        """
        if self.reference is not None:
            return self.reference
        mean = self.sum(items).clamp(min=1.0) / self.world_size
        return self.keep_reference(mean) if self.world_size > 1 else mean

    def keep_reference(self, items: Tensor) -> Tensor:
        """Keep the power of two above a number of items, 0-dim, as the reference of all windows, and return it.

        Counts are divided by it exactly, and no rank waits for it.
        """
        self.reference = items / torch.frexp(items).mantissa
        return self.reference

    def average(self, grads: list[Tensor]) -> None:
        """Average gradients over all ranks, in place, that were not reduced in a backward pass (`sync(last=False)`).

        Every rank must call it with the same shapes. Buckets of `BUCKET` bytes take one collective each (`sum`).
        """
        if self.world_size > 1:
            for bucket in buckets(grads):
                total = self.sum(torch.cat([grad.reshape(-1) for grad in bucket]) / self.world_size)
                parts = torch.split(total, [grad.numel() for grad in bucket])
                torch._foreach_copy_(bucket, [part.view(grad.shape) for part, grad in zip(parts, bucket, strict=True)])

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank. Every rank must call it, and waits for the others on the host."""
        return flag

    def vote(self, flag: bool, topic: str = "stop") -> bool:
        """Return whether any rank voted yes when it was asked last; `flag` is this rank's vote for the next call.

        Every rank gets the same answer. It is called once per update: the votes travel while the update computes, so no rank
        waits for them. With one process `flag` itself is the answer.

        Args:
            flag: the vote of this rank.
            topic: `"save"`, `"end"`, or `"stop"`, which is asked last in each update.
        """
        return flag

    def gather(self, value: Any) -> list[Any]:
        """Return the plain values of all ranks, by rank. Every rank must call it."""
        return [value]

    def same(self, numbers: Sequence[int]) -> bool:
        """Return whether all ranks have the same whole numbers, each as many. Every rank must call it, and waits for the others."""
        most = self.highest([*numbers, *(-number for number in numbers)])
        return most[len(numbers) :] == [-number for number in most[: len(numbers)]]

    def highest(self, numbers: Sequence[int]) -> list[int]:
        """Return the highest of each whole number over all ranks. Every rank must call it, and waits for the others."""
        return [max(each) for each in zip(*self.gather(list(numbers)), strict=True)]

    @contextmanager
    def lockstep(self) -> Iterator[None]:
        """Context in which the ranks confirm, before each time that they communicate, that none has failed.

        So what fails on one of them ends at the same point on all, and they can go on together. Nothing is exchanged by a process
        that trains alone.

        Raises:
            OtherRankFailed: where another rank has failed.
        """
        self.in_lockstep = self.world_size > 1
        try:
            yield
            self.confirm()
        except (ConfigError, TrainingError, OtherRankFailed):  # the first two end the run, and `share_errors` tells them
            raise
        except Exception:
            with suppress(OtherRankFailed):
                self.confirm(failed=True)
            raise
        finally:
            self.in_lockstep = False

    def confirm(self, failed: bool = False, place: int = 0) -> None:
        """Confirm in lockstep that no rank has failed. Every rank must call it, and waits for the others.

        A compiled model does not stop for it on its way.

        Args:
            failed: whether this rank has.
            place: number of the module whose forward pass begins; 0 outside of all.

        Raises:
            OtherRankFailed: where another rank has failed.
            ConfigError: on every rank, where they are not at the same place.
        """
        if not self.in_lockstep or torch.compiler.is_compiling():
            return
        any_failed, last, first = self.highest([failed, place, -place])
        if any_failed:
            raise OtherRankFailed
        if last != -first:
            raise ConfigError(
                f"{self.name}: the ranks do not call the model alike in an evaluation, and would wait for one another; call it in "
                "metrics(model, batch) as often, and with the same parts, on every rank"
            )

    def share_errors(self, stop_requested: Callable[[], bool] = lambda: False) -> AbstractContextManager[None]:
        """Return a context in which an error of one rank ends all ranks, with the same sentence.

        Args:
            stop_requested: whether a signal has asked this process to stop, so that it waits for no other.
        """
        return NOTHING

    def state_dict(self) -> dict[str, Any]:
        return {"usual": self.reference}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        reference: Tensor | None = state.get("usual")
        self.reference = None if reference is None else reference.to(self.device, copy=True)

    def close(self) -> None:
        """Leave the process group, when the run ends, however it ends."""


def buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield lists of tensors, in their order, each of one dtype and of about `BUCKET` bytes."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (size >= BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket
