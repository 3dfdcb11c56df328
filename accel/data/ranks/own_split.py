"""Loaders that divide their data among ranks by themselves, such as a DataLoader with a DistributedSampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from accel.data.ranks.rank_share import RankShare
from accel.errors import ConfigError
from accel.system.call_stack import warn_user

__all__ = ["LINKS", "PAIRS", "OwnSplit", "own_split", "samplers_of"]

PAIRS = (("num_replicas", "rank"), ("num_processes", "process_index"), ("world_size", "rank"))
"""Attributes in which samplers keep the number of ranks and their own: torch's and timm's, accelerate's, and others."""
LINKS = ("batch_sampler", "sampler")
"""Attributes in which loaders and samplers keep the sampler that they read from."""


@dataclass(frozen=True)
class OwnSplit:
    """Division of data among ranks that the data makes itself."""

    rank: int
    ranks: int
    owner: str
    """The class that makes it."""
    samples: int | None
    """Samples of an epoch that this rank is given; None where nobody tells."""
    is_sampler: bool
    """Whether it is a sampler, which gives every rank as many."""

    def check(self, share: RankShare) -> None:
        """Warn if the rest of the data is read by nobody. Raise ConfigError if the ranks are not those that train together."""
        if share.ranks == 1:
            warn_user(
                f"{self.owner} gives this process part {self.rank + 1} of {self.ranks} of the data, and it trains alone: nobody "
                f"reads the rest; start {self.ranks} processes with the plugin ddp, or leave out {self.owner}"
            )
        elif not self.is_sampler:
            raise ConfigError(
                f"{self.owner} divides the data among the ranks, each of which takes its part of what it is given; leave it out, "
                "and give every rank all of the data"
            )
        elif (self.rank, self.ranks) != (share.rank, share.ranks):
            raise ConfigError(
                f"{self.owner} divides the data for rank {self.rank} of {self.ranks}, and this is rank {share.rank} of "
                f"{share.ranks}; give it num_replicas={share.ranks} and the rank of its process, or leave it out"
            )


def own_split(data: Any) -> OwnSplit | None:
    """Return how data divides itself among several ranks; None if it does not, or nothing tells."""
    for owner in samplers_of(data):
        for ranks_name, rank_name in PAIRS:
            ranks, rank = getattr(owner, ranks_name, None), getattr(owner, rank_name, None)
            if type(ranks) is int and type(rank) is int and ranks > 1:
                return OwnSplit(rank, ranks, type(owner).__name__, _length(owner), True)
    for owner in (data, getattr(data, "dataset", None)):
        inner = getattr(owner, "_distributed", None)  # of the package datasets, by split_dataset_by_node
        ranks, rank = getattr(inner, "world_size", None), getattr(inner, "rank", None)
        if type(ranks) is int and type(rank) is int and ranks > 1:
            return OwnSplit(rank, ranks, "split_dataset_by_node", None, False)
    return None


def samplers_of(data: Any, depth: int = 3) -> Iterator[Any]:
    """Yield the samplers that a loader reads by, the outermost first; `sampler` beside a batch sampler is not read."""
    link = next((name for name in LINKS if getattr(data, name, None) is not None), None)
    if link is not None and depth:
        sampler = getattr(data, link)
        yield sampler
        yield from samplers_of(sampler, depth - 1)


def _length(sampler: Any) -> int | None:
    try:
        return len(sampler)
    except (TypeError, NotImplementedError):
        return None
