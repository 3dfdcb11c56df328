"""Pinned: copies to the device from pinned memory, without waiting on the host.

Helps   CUDA, where the host has more to do than to wait for a copy: it queues
        the copy and the whole update behind it. A batch that is pinned already
        (the ring of `threads`) is not copied a second time on the host.
Hurts   nothing on CUDA. On a CPU it has no effect, because batches need no
        copy.
Costs   a copy on the host into pinned memory, which torch keeps and uses again.
Source  https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
Exact   The same bytes. The memory that is copied from is held until the copy is
        done.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.parts.shared.pinned_copy import PinnedCopy

__all__ = ["Pinned"]


@dataclass(eq=False)
class Pinned(PinnedCopy):
    """Transfer by `non_blocking` copies from pinned memory, on the stream of the computation."""

    own_stream = False
