"""Random generators that data may draw from, in one form: their state, and how they are seeded."""

from __future__ import annotations

import _random
import ctypes
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

import numpy as np
import torch

__all__ = ["GeneratorHandle", "drawing", "global_generators", "handle_of", "is_drawing"]


class GeneratorHandle(ABC):
    """One random generator.

    Args:
        generator: the generator itself.
    """

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    @abstractmethod
    def state(self) -> Any:
        """Return the state, as tensors and plain values."""

    @abstractmethod
    def restore(self, state: Any) -> None:
        """Set a state that `state` returned."""

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed it with a number of 64 bits."""

    def mark(self) -> Any:
        """Return a value that changes with every number drawn, to compare with `==`."""
        return self.state()

    def snapshot(self) -> tuple[Any, Any]:
        """Return mark and state."""
        state = self.state()
        return state, state


class PythonRandom(GeneratorHandle):
    """A `random.Random`, such as the one behind the functions of the module.

    Its state is a tuple of 625 numbers, which takes 10 microseconds to make and 20 to compare: its words in memory are looked at.

    Args:
        generator: the generator.
    """

    def __init__(self, generator: Any) -> None:
        super().__init__(generator)
        self.words: Any = _words_of_python(generator)

    def mark(self) -> Any:
        return self.state() if self.words is None else (self.words.tobytes(), self.generator.gauss_next)

    def snapshot(self) -> tuple[Any, Any]:
        return self.mark(), self.state()

    def state(self) -> Any:
        return self.generator.getstate()

    def restore(self, state: Any) -> None:
        self.generator.setstate(state)

    def seed(self, seed: int) -> None:
        self.generator.seed(seed)


class NumpyGenerator(GeneratorHandle):
    """A `numpy.random.Generator`."""

    def state(self) -> Any:
        return _plain(self.generator.bit_generator.state)

    def restore(self, state: Any) -> None:
        self.generator.bit_generator.state = state

    def seed(self, seed: int) -> None:
        bits = self.generator.bit_generator
        bits.state = type(bits)(seed).state


class NumpyBits(GeneratorHandle):
    """A `numpy.random.BitGenerator` that is drawn from itself, such as a `PCG64`."""

    def state(self) -> Any:
        return _plain(self.generator.state)

    def restore(self, state: Any) -> None:
        self.generator.state = state

    def seed(self, seed: int) -> None:
        self.generator.state = type(self.generator)(seed).state


class NumpyRandomState(GeneratorHandle):
    """A `numpy.random.RandomState`, such as the one behind numpy's old functions.

    Reading its state takes 30 microseconds. Of the global one, the words in memory are looked at first: the state is read anew only
    if they have changed, or if a second normal number is kept, which is used without moving them.

    Args:
        generator: the generator.
        bits: its Mersenne Twister, whose memory may be looked at; None for another.
    """

    def __init__(self, generator: Any, bits: Any = None) -> None:
        super().__init__(generator)
        self.words: Any = None
        self.known: tuple[bytes, Any] = b"", None
        self.bits, self.words = bits, _words_of(bits, self.state())

    def mark(self) -> Any:
        state = self.state()
        return state if self.words is None or state[3] else self.known[0]

    def snapshot(self) -> tuple[Any, Any]:
        return self.mark(), self.known[1]

    def state(self) -> Any:
        words = b"" if self.words is None else self.words.tobytes()
        known, state = self.known
        if not words or words != known or state[3] or _global_bits() is not self.bits:
            name, key, *rest = self.generator.get_state()
            state = [str(name), np.asarray(key).tolist(), *rest]
            self.known = words, state
        return state

    def restore(self, state: Any) -> None:
        self.generator.set_state(tuple(state))
        self.known = b"", None  # its words may be those of before, and the second normal number another

    def seed(self, seed: int) -> None:
        self.generator.seed(seed % 2**32)
        self.known = b"", None


class TorchGenerator(GeneratorHandle):
    """A `torch.Generator`, such as torch's own for the CPU."""

    def state(self) -> Any:
        return self.generator.get_state()

    def restore(self, state: Any) -> None:
        self.generator.set_state(state)

    def seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    def mark(self) -> Any:
        return self.generator.get_state().numpy().tobytes()

    def snapshot(self) -> tuple[Any, Any]:
        state = self.state()
        return state.numpy().tobytes(), state


_drawing = 0


@contextmanager
def drawing() -> Iterator[None]:
    """Mark, while the block runs, that the global generators may be anywhere, and that whoever runs it puts them back."""
    global _drawing
    _drawing += 1
    try:
        yield
    finally:
        _drawing -= 1


def is_drawing() -> bool:
    """Return whether a block of `drawing` runs."""
    return _drawing > 0


def global_generators() -> list[GeneratorHandle]:
    """Return Python's, numpy's and torch's global generators of this host, in this order."""
    python = cast(Any, random.getstate).__self__  # the instance whose methods the module's functions are
    legacy = cast(Any, np.random.get_state).__self__
    return [PythonRandom(python), NumpyRandomState(legacy, _global_bits()), TorchGenerator(torch.default_generator)]


def handle_of(value: Any) -> GeneratorHandle | None:
    """Return the handle of a generator; None for anything else, and for a generator that has no state."""
    if isinstance(value, torch.Generator):
        return TorchGenerator(value)
    if isinstance(value, np.random.Generator):
        return NumpyGenerator(value)
    if isinstance(value, np.random.RandomState):
        return NumpyRandomState(value)
    if isinstance(value, np.random.BitGenerator):
        return NumpyBits(value)
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return PythonRandom(value)
    return None


def _torch_generator(device: str, state: bytes) -> torch.Generator:
    """Return a generator in a state, which torch sends in shared memory that is gone before a new process opens it."""
    generator = torch.Generator(device)
    generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    return generator


ForkingPickler.register(torch.Generator, lambda rng: (_torch_generator, (str(rng.device), rng.get_state().numpy().tobytes())))


def _global_bits() -> Any:
    """Return the bit generator behind numpy's old functions."""
    return np.random.get_bit_generator()  # type: ignore[attr-defined]


def _plain(state: Any) -> Any:
    """Return a state with lists in place of arrays."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state


def _words_of_python(generator: Any) -> Any:
    """Return the memory of a `random.Random`, (625,) uint32: its position and its 624 words; None if they do not lie so."""
    kind, start = type(generator), object.__basicsize__
    own = kind.getstate is not random.Random.getstate or kind.random is not random.Random.random
    if own or sys.implementation.name != "cpython" or _random.Random.__basicsize__ < start + 4 * 625:
        return None
    words = np.ctypeslib.as_array((ctypes.c_uint32 * 625).from_address(id(generator) + start))
    state = generator.getstate()[1]
    return words if words.tolist() == [state[624], *state[:624]] else None


def _words_of(bits: Any, state: Any) -> Any:
    """Return the memory of a Mersenne Twister, (625,) uint32: its 624 words and its position; None if they do not lie so."""
    if type(bits) is not np.random.MT19937:
        return None
    words = np.ctypeslib.as_array((ctypes.c_uint32 * 625).from_address(bits.ctypes.state_address))
    return words if words.tolist() == [*state[1], state[2]] else None
