"""Where the processes that torchrun started find each other: a small table of names and values, in one of them or in torchrun."""

from __future__ import annotations

import os
from datetime import timedelta

from torch._C._distributed_c10d import TCPStore

KEPT: dict[tuple[str, int], TCPStore] = {}
"""Those that this process has reached or keeps: they live as long as it does, for the others may come late."""


def table(timeout: float) -> TCPStore:
    """The table of this process and all others of its run.

    An agent of torchrun keeps it, or, told TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, leaves it to the first process, anew for each
    attempt. Then alone an agent that is started again, on a machine that was lost, can join those that are there (torch 2.13).

    Args:
        timeout: seconds to wait for it, and then for what is asked of it.

    Raises:
        DistError: where it cannot be reached.
    """
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    limit = timedelta(seconds=timeout)
    if place not in KEPT:
        ours = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False" and os.environ.get("RANK") == "0"
        KEPT[place] = TCPStore(*place, is_master=ours, timeout=limit, wait_for_workers=False)
    KEPT[place].set_timeout(limit)
    return KEPT[place]
