"""The random generators that a run draws from, as one: torch's, numpy's, Python's, and the loaders'."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Any

import numpy as np
import torch

from accel.device.accelerators.runtime import default_generator
from accel.device.generators import GeneratorHandle, TorchGenerator, global_generators

__all__ = ["Randomness", "host_rng_state", "mix_seed", "seeded", "set_host_rng_state"]


class Randomness:
    """All random generators of a run, seeded, saved and restored together.

    Args:
        device: of the run; the generator of an accelerator is one of them.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.loader_generators: list[torch.Generator] = []
        """Those that the user's loaders and their samplers draw from."""
        self.held: list[GeneratorHandle] = []
        """Others that the user's loaders, their data sets and transforms hold."""

    def seed(self, seed: int) -> None:
        """Seed the global generators. numpy's takes the lower 32 bits."""
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # that would keep a call, with its traceback, for each kind of device that is not there
            torch.default_generator.manual_seed(seed)

    def seed_all(self, seed: int) -> None:
        """Seed the global generators, and those of the user's loaders."""
        self.seed(seed)
        for handle in [*map(TorchGenerator, self.loader_generators), *self.held]:
            handle.seed(seed)

    def fork_for_rank(self, seed: int, rank: int, step: int = 0) -> None:
        """Give each rank random numbers of its own, so that no two drop equal units; rank 0 keeps its generators as they are."""
        if rank > 0:
            self.seed(mix_seed(seed, rank, step))

    def register_loaders(self, *loaders: Any) -> None:
        """Register the generators of DataLoaders: their own, and their samplers'."""
        ways = ("generator", "sampler.generator", "batch_sampler.generator", "batch_sampler.sampler.generator")
        values = (
            reduce(lambda owner, name: getattr(owner, name, None), way.split("."), loader) for loader in loaders for way in ways
        )
        self.loader_generators = list(dict.fromkeys(generator for generator in values if isinstance(generator, torch.Generator)))

    def hold(self, handles: Iterable[GeneratorHandle]) -> None:
        """Register more generators that the user's loaders hold."""
        known = {id(generator) for generator in self.loader_generators}
        by_id = {id(handle.generator): handle for handle in handles}
        self.held = [handle for key, handle in by_id.items() if key not in known]

    def state(self) -> dict[str, Any]:
        """Return tensors and plain values of all generators, for a checkpoint."""
        name, key, *rest = np.random.get_state()
        state: dict[str, Any] = {
            "cpu": torch.get_rng_state(), "python": random.getstate(), "numpy": [str(name), np.asarray(key).tolist(), *rest],
            "own": [generator.get_state() for generator in self.loader_generators],
        }  # fmt: skip
        if self.held:
            state["held"] = [handle.state() for handle in self.held]
        if (generator := default_generator(self.device)) is not None:
            state[self.device.type] = generator.get_state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Restore all generators to a state that `state` returned."""
        torch.set_rng_state(state["cpu"])
        random.setstate(state["python"])
        np.random.set_state(tuple(state["numpy"]))
        # not strict: a resumed run may have other loaders
        for loader_generator, generator_state in zip(self.loader_generators, state["own"], strict=False):
            loader_generator.set_state(generator_state)
        for handle, held in zip(self.held, state.get("held", []), strict=False):
            handle.restore(held)
        if self.device.type in state and (generator := default_generator(self.device)) is not None:
            generator.set_state(state[self.device.type])

    @contextmanager
    def preserved(self, loaders: bool = True) -> Iterator[None]:
        """Restore all generators after the block, whatever is drawn inside.

        Args:
            loaders: whether the generators of the user's loaders are restored too.
        """
        state = self.state()
        if not loaders:
            state["own"] = state["held"] = []
        try:
            yield
        finally:
            self.restore(state)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Make the global generators of the host a function of `numbers` inside the block; afterwards they are where they were."""
    handles = global_generators()
    states, seed = [handle.state() for handle in handles], mix_seed(*numbers)
    try:
        for handle in handles:  # not by torch.manual_seed, which seeds the devices too, and nobody would put those back
            handle.seed(seed)
        yield
    finally:
        for handle, state in zip(handles, states, strict=True):
            handle.restore(state)


def host_rng_state() -> Any:
    """Return the state of Python's and numpy's global generators, as values to compare with `==`. Takes 50 microseconds."""
    name, key, *rest = np.random.get_state()
    return random.getstate(), (name, np.asarray(key).tobytes(), *rest)


def set_host_rng_state(state: Any) -> None:
    """Set Python's and numpy's global generators to a state that `host_rng_state` returned."""
    python, (name, key, *rest) = state
    random.setstate(python)
    np.random.set_state((name, np.frombuffer(key, dtype=np.uint32), *rest))


def mix_seed(*numbers: int) -> int:
    """Return one well-spread 63-bit seed for several whole numbers from 0: the hash of numpy's SeedSequence."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
