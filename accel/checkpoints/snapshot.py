"""Copy of a run's state in the host's memory, taken while the loop waits and written while it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from accel.device.cuda.device_threads import DeviceThread
from accel.device.cuda.pinned_arena import PinnedArena, space_for
from accel.device.cuda.pinned_memory import PinnedMemory
from accel.device.dtensor import is_dtensor, local_shard, with_shard
from accel.errors import TrainingError

__all__ = ["PLAIN", "SLACK", "Snapshot", "bytes_of", "is_flat", "tensors"]

SLACK = 1 << 20
"""Bytes by which memory that is made ahead is larger than it need be: small tensors are not counted for that."""

PLAIN = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device, torch.Size)
"""Types that a checkpoint may hold beside tensors, and lists, tuples and dicts of them: `weights_only` loads these again."""
_PLAIN = frozenset(PLAIN)


class Snapshot:
    """Copier of states into buffers that are allocated once and used again for the next state.

    On a CUDA device the buffers lie in pinned memory and the host waits for no copy: the copies are queued on the stream that
    the updates run on, so that the next update, which is queued behind them, moves nothing that is still to be copied. `wait`
    waits for them, in the thread that writes. The memory is as large as the state. `prepare` has it made by a thread.

    Args:
        device: the device of the run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.buffers: list[Tensor] = []
        self.used = 0
        self.pinned = PinnedMemory("checkpoints")
        self.arenas: list[PinnedArena] = []
        """The memory of what the last `take` copied, and of each `add` after it, on CUDA."""
        self.arena_number = 0
        self.preparation: DeviceThread | None = None
        self.event: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def take(self, state: Any) -> Any:
        """Return a copy of `state` that shares nothing with the run. It is valid until the next one is taken.

        Raises:
            TrainingError: for a value that no checkpoint can hold, with its place.
        """
        self.used = self.arena_number = 0
        return self.add(state)

    def add(self, state: Any) -> Any:
        """Return a copy of a further state, which is valid as long as that of the last `take`. Raise TrainingError as that does."""
        self.copied = dict[Any, Tensor]()
        if self.event is not None:
            self._make_room(bytes_of(state))
        try:
            taken = self._copy(state, ())
        except BaseException:
            self._record()
            self.wait()  # what is queued is still being written, to memory that others are about to use
            raise
        self._record()
        self.copied.clear()
        return taken

    def prepare(self, size: Callable[[], int]) -> None:
        """Begin to make the memory for states in a thread, on the first call: pinning a gigabyte takes a good part of a second.

        Args:
            size: returns the bytes of a state, about (`bytes_of`).
        """
        if self.event is not None and self.preparation is None and not self.arenas:
            self.preparation = DeviceThread(target=self._prepare, args=(size() + SLACK,), name="accel-snapshot", daemon=True)
            self.preparation.start()

    def _record(self) -> None:
        """Let `wait` wait for what has been queued so far."""
        if self.event is not None:
            self.event.record(torch.cuda.current_stream(self.device))

    def _make_room(self, size: int) -> None:
        """Make sure that the arena of this call has room for `size` bytes."""
        if self.preparation is not None:
            self.preparation.join()
        number, self.arena_number = self.arena_number, self.arena_number + 1
        if number < len(self.arenas) and size <= self.arenas[number].size <= 2 * size + SLACK:
            self.arenas[number].reset()
        else:
            del self.arenas[number:]  # before there is another
            self.arenas.append(PinnedArena(size, self.pinned))

    def _prepare(self, size: int) -> None:
        """Make the first arena. Runs in a thread; where there is no memory, the one who needs it is told."""
        with suppress(OSError, MemoryError):
            self.arenas.append(PinnedArena(size, self.pinned))

    def wait(self) -> None:
        """Wait until the copies have reached the host."""
        if self.event is not None:
            self.event.synchronize()

    def _copy(self, value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, dict):
            return {self._copy(key, place): self._copy(inner, (*place, str(key))) for key, inner in value.items()}
        if isinstance(value, torch.Size) or type(value) in PLAIN:
            return value
        if isinstance(value, list | tuple):
            kind = list if isinstance(value, list) else tuple
            if is_flat(value):
                return kind(value)
            return kind(self._copy(inner, (*place, str(number))) for number, inner in enumerate(value))
        raise TrainingError(
            f"the state of {'.'.join(place)} holds a {type(value).__name__}, which no checkpoint can; "
            "let its state_dict give tensors, numbers, texts, and lists and dicts of them"
        )

    def _tensor(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        if is_dtensor(tensor):  # two names of one are written twice: safetensors writes no memory under two names
            return with_shard(tensor, self._copied(local_shard(tensor)))
        if not _is_plain(tensor) or not tensor.numel():
            return self._copied(tensor)
        # a tensor that has two names is written once, and is one again when it is loaded
        same = tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        if same not in self.copied:
            self.copied[same] = self._copied(tensor)
        return self.copied[same]

    def _copied(self, tensor: Tensor) -> Tensor:
        """Return a copy, in a buffer if the tensor is a plain one with numbers in it."""
        if not _is_plain(tensor):
            return tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()
        if not tensor.numel():
            return torch.empty_like(tensor, device="cpu")
        return self._buffer(tensor).copy_(tensor, non_blocking=tensor.device.type == "cuda")

    def _buffer(self, tensor: Tensor) -> Tensor:
        """Return a buffer of the shape, dtype and memory order of `tensor`: the one of the last state, if it fits."""
        if self.event is not None:
            return self.arenas[self.arena_number - 1].place(tensor)
        place, self.used = self.used, self.used + 1
        if place < len(self.buffers):
            old = self.buffers[place]
            if (old.dtype, old.shape) == (tensor.dtype, tensor.shape):
                return old
        new = torch.empty_like(tensor, device="cpu", memory_format=torch.preserve_format)
        self.buffers[place:] = [new]
        return new


def is_flat(state: Any) -> bool:
    """Return whether a state is a list or tuple of plain values alone, such as the 625 numbers of a random generator."""
    return isinstance(state, list | tuple) and _PLAIN.issuperset(map(type, state))


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.layout == torch.strided and not tensor.is_quantized


def bytes_of(state: Any) -> int:
    """Return the bytes that the copies of a state's tensors take in an arena; those of two names are counted once."""
    spaces: dict[Any, int] = {}
    for _, tensor in tensors(state):
        local = local_shard(tensor) if is_dtensor(tensor) else tensor
        if _is_plain(local.detach()) and local.numel():
            same = local.device, local.data_ptr(), local.dtype, local.shape, local.stride()
            spaces[(len(spaces), same) if is_dtensor(tensor) else same] = space_for(local)
    return sum(spaces.values())


def tensors(state: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    """Yield every tensor in a state, with the keys that lead to it."""
    if isinstance(state, Tensor):
        yield place, state
    elif isinstance(state, dict):
        for key, value in state.items():
            yield from tensors(value, (*place, str(key)))
    elif isinstance(state, list | tuple):
        for number, value in enumerate(state):
            yield from tensors(value, (*place, str(number)))
