"""Memory of the host that is pinned, so that nobody waits for the copies between it and a CUDA device.

All that accel pins goes through `PinnedMemory`. CUDA may refuse: under a container's limit on locked memory, say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from weakref import finalize

import torch
from numpy.typing import NDArray
from torch import Tensor

from accel.device.out_of_memory import is_out_of_memory
from accel.system.call_stack import warn_user

__all__ = ["PinnedMemory", "PinningRefused", "clear_last_error", "forget_refusals", "refusal_remarks"]

Memory = TypeVar("Memory")
OTHER_REFUSALS = ("CUDA error: operation not supported", "CUDA error: OS call failed")
"""Texts in torch's errors, beside those of memory that is short, that say that this memory cannot be pinned."""

refused_users: dict[str, None] = {}
"""Whose memory CUDA has refused to pin since the run began, in that order."""


class PinningRefused(RuntimeError):
    """Refusal of CUDA to pin memory. The text is CUDA's own."""


class PinnedMemory:
    """Pinned memory for one purpose, until CUDA refuses.

    From then on it is memory that is not pinned, and copies are waited for. The run warns once, and its summary says whose memory
    it was. CUDA keeps the last error of each thread until somebody asks, and torch would raise it at its next kernel; so it is
    cleared.

    Args:
        user: whose memory it is, in words.
    """

    def __init__(self, user: str) -> None:
        self.user = user
        self.refused = False
        """Whether CUDA has refused once. It is not asked again."""

    def register(self, memory: NDArray[Any]) -> None:
        """Pin existing memory as it is, to its exact size, until it is gone: torch's own is rounded up to powers of two.

        Args:
            memory: the array that all views of the memory refer to.
        """
        self._pinned(partial(_register, memory), lambda: None)

    def copy(self, tensor: Tensor) -> Tensor:
        """Return a copy of a tensor of the host; itself where it is pinned already, and where CUDA refuses."""
        return self._pinned(tensor.pin_memory, lambda: tensor)

    def send(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Return a tensor of the host on a device, without waiting for the copy to a CUDA device."""
        if device.type != "cuda":
            return tensor.to(device)
        return self.copy(tensor).to(device, non_blocking=True)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Return a tensor of the host, not initialised, with the given shape and dtype."""
        new = partial(torch.empty, tuple(shape), dtype=dtype, device="cpu")
        return self._pinned(partial(new, pin_memory=True), new)

    def _pinned(self, pin: Callable[[], Memory], otherwise: Callable[[], Memory]) -> Memory:
        """Return what `pin` does, or what `otherwise` does from CUDA's first refusal on."""
        if not self.refused:
            try:
                return pin()
            except RuntimeError as error:
                if not _is_refusal(error):
                    raise
                self._note(str(error).partition("\n")[0].removeprefix("CUDA error: "))
        return otherwise()

    def _note(self, reason: str) -> None:
        """Clear CUDA's error, and let the user know."""
        self.refused = True
        refused_users[self.user] = None
        clear_last_error()
        warn_user(
            f"CUDA refuses to pin memory of the host ({reason}); copies go on without, and are waited for; raise the limit on "
            "locked memory (ulimit -l; docker run --ulimit memlock=-1)"
        )


def forget_refusals() -> None:
    """Begin a run, of which `refusal_remarks` is to tell."""
    refused_users.clear()


def refusal_remarks() -> list[str]:
    """Return a sentence on whose memory CUDA has refused to pin since the run began; an empty list if it refused none."""
    if not refused_users:
        return []
    return [f"copies were waited for where CUDA refused to pin memory: {', '.join(refused_users)}"]


def clear_last_error() -> None:
    """Make CUDA forget the last error of this thread. A kernel that does nothing looks for one, takes it away, and raises it."""
    with suppress(RuntimeError):
        torch.cuda._sleep(0)  # type: ignore[no-untyped-call]


def _is_refusal(error: RuntimeError) -> bool:
    """Return whether an error says that memory cannot be pinned, and no more."""
    return isinstance(error, PinningRefused) or is_out_of_memory(error) or any(text in str(error) for text in OTHER_REFUSALS)


def _register(memory: NDArray[Any]) -> None:
    """Pin existing memory, until it is gone. Raise PinningRefused where CUDA refuses."""
    runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
    error = runtime.cudaHostRegister(memory.ctypes.data, memory.nbytes, 0)
    if int(error) != 0:
        raise PinningRefused(str(runtime.cudaGetErrorString(error)))
    finalize(memory, _unregister, runtime, memory.ctypes.data, torch.cuda.current_device()).atexit = False


def _unregister(runtime: Any, address: int, device: int) -> None:
    """Unpin the memory at `address`, once the device is done: an error may end what has queued copies, and not the copies."""
    with suppress(RuntimeError):
        torch.cuda.synchronize(device)
    with suppress(RuntimeError):
        if int(runtime.cudaHostUnregister(address)) != 0:
            clear_last_error()
