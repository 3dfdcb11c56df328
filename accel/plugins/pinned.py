"""Pinned: batches reach the device from pinned memory; the host does not wait.

Helps   on CUDA, where the host has more to do than to wait for a copy: it
        queues the copy and the whole update behind it. A batch that is pinned
        already (the ring of `threads`) is not copied a second time on the host.
Hurts   nothing on CUDA. On a CPU batches are where they belong: it has no
        effect.
Costs   a copy on the host into pinned memory, which torch keeps and uses again.
Source  https://docs.pytorch.org/tutorials/intermediate/pinmem_nonblock.html
Exact   The same bytes. What is being copied from is held until the copy is
        done.
"""

from __future__ import annotations

from dataclasses import dataclass

from accel.parts.shared.pinned_copy import PinnedCopy

__all__ = ["Pinned"]


@dataclass(eq=False)
class Pinned(PinnedCopy):
    """Pinned memory and `non_blocking` copies, on the stream of the computation."""

    own_stream = False
