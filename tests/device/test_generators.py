"""Generators in one form, and the search for them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from accel.data.randomness.find_generators import find_generators
from accel.data.randomness.sample_randomness import MAX_GENERATORS, SampleRandomness
from accel.data.randomness.tripwire import RANDOM_FUNCTIONS, Tripwire, reading_ahead, watched
from accel.device.generators import global_generators, handle_of
from accel.device.rng import Randomness, seeded
from accel.errors import AccelWarning
from tests.support.drawing_datasets import DRAWING, OF_MODULE

BITS: list[Any] = [np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64, np.random.MT19937]
KINDS: dict[str, tuple[Any, Any]] = {
    **{bits.__name__: (lambda bits=bits: np.random.Generator(bits(1)), lambda rng: rng.normal(size=3).tolist()) for bits in BITS},
    "RandomState": (lambda: np.random.RandomState(1), lambda rng: rng.randn(3).tolist()),
    "bits": (lambda: np.random.SFC64(1), lambda bits: bits.random_raw(3).tolist()),
    "Random": (lambda: random.Random(1), lambda rng: [rng.gauss(0, 1) for _ in range(3)]),
    "torch": (lambda: torch.Generator().manual_seed(1), lambda rng: torch.randn(3, generator=rng).tolist()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_is_restored_and_a_draw_is_noticed(kind: str) -> None:
    make, draw = KINDS[kind]
    generator = make()
    handle = handle_of(generator)
    assert handle is not None
    for _ in range(2):
        mark, state = handle.snapshot()
        drawn = draw(generator)
        assert handle.mark() != mark
        handle.restore(state)
        assert handle.mark() == mark
        assert draw(generator) == drawn
    handle.seed(2**64 - 1)
    drawn = draw(generator)
    handle.seed(2**64 - 1)
    assert draw(generator) == drawn


class OwnState(random.Random):
    """A generator that keeps a state of its own beside Python's."""

    drawn = 0

    def random(self) -> float:
        self.drawn += 1
        return self.drawn / 2**20

    def getstate(self) -> Any:
        return self.drawn

    def setstate(self, state: Any) -> None:
        self.drawn = state


@pytest.mark.parametrize("draw", ["random", "gauss", "getrandbits", "randbytes", "shuffle", "seed"])
def test_the_mark_of_a_python_generator_is_its_memory_and_not_a_tuple_of_numbers(draw: str) -> None:
    generator = random.Random(3)
    handle = handle_of(generator)
    assert handle is not None
    for _ in range(700):  # all 624 words are made anew on the way
        mark, state = handle.snapshot()
        assert type(mark[0]) is bytes
        getattr(generator, draw)(*{"getrandbits": [32], "randbytes": [3], "shuffle": [[1, 2]]}.get(draw, []))
        assert handle.mark() != mark
    handle.restore(state)
    assert handle.mark() == mark


def test_a_python_generator_with_a_state_of_its_own_is_asked_for_it() -> None:
    generator = OwnState()
    handle = handle_of(generator)
    assert handle is not None
    mark = handle.mark()
    generator.random()
    assert handle.mark() != mark


def test_the_second_normal_number_of_numpys_global_generator_is_part_of_its_state() -> None:
    _, handle, _ = global_generators()
    np.random.seed(0)
    np.random.randn()
    mark, state = handle.snapshot()
    second = np.random.randn()
    assert handle.mark() != mark
    handle.restore(state)
    handle.snapshot()
    assert np.random.randn() == second
    handle.restore(state)
    assert handle.state() == state


def test_the_local_variables_of_a_python_generator_and_a_long_dict_are_looked_at() -> None:
    own = random.Random()

    def numbers() -> Iterator[float]:
        inner = own
        while True:
            yield inner.random()

    running = numbers()
    next(running)
    assert [handle.generator for handle in find_generators([running])] == [own]
    many = {number: np.random.default_rng(number) for number in range(300)}
    assert [handle.generator for handle in find_generators(many)] == list(many.values())


def test_more_generators_than_are_looked_at_are_said() -> None:
    data = TensorDataset(torch.zeros(3))
    data.rngs = [random.Random(number) for number in range(MAX_GENERATORS)]  # type: ignore[attr-defined]
    randomness = SampleRandomness(data, seed=0)
    with pytest.warns(AccelWarning, match="500 random generators, of which 497 are seeded for each sample"):
        randomness.search()


def test_generators_are_found_wherever_they_are_held() -> None:
    held = {id(handle.generator) for handle in find_generators(DRAWING["held"]())}
    assert len(held) == 5
    assert [handle.generator for handle in find_generators(DRAWING["of the module"]())] == [OF_MODULE]
    own = torch.Generator()
    loader = DataLoader(Subset(DRAWING["held"](), range(3)), shuffle=True, generator=own)
    assert len(handles := find_generators(loader)) == 6
    assert any(handle.generator is own for handle in handles)
    kinds = [[type(handle.generator) for handle in find_generators(DRAWING["held"]())] for _ in range(3)]
    assert kinds[0] == kinds[1] == kinds[2], "in one order"
    assert handle_of(random.SystemRandom()) is None
    around: list[Any] = [random.Random()]
    around.append(around)
    assert len(find_generators(around)) == 1, "round and round"


def test_the_table_of_torchs_random_functions_is_whole() -> None:
    networks = {"gru", "lstm", "rnn_relu", "rnn_tanh", "miopen_rnn"}  # which draw only to drop units while they are trained
    names = {schema.name.removeprefix("aten::") for schema in torch._C._jit_get_all_schemas()}
    drawing = set()
    for name in names:
        packet = getattr(torch.ops.aten, name, None)
        tags = {tag for one in (packet.overloads() if packet else ()) for tag in getattr(packet, one).tags}
        if torch.Tag.nondeterministic_seeded in tags and (callable(getattr(torch, name, None)) or hasattr(torch.Tensor, name)):
            drawing.add(name)
    assert "randperm" in drawing
    assert not {name for name in drawing - RANDOM_FUNCTIONS - networks if not name.startswith("_")}


@pytest.mark.parametrize(
    ("call", "trips"),
    [
        (lambda: torch.empty(1).uniform_(0, 1), True),
        (lambda: torch.nn.functional.dropout(torch.ones(3)), True),
        (lambda: torch.rand(2, generator=torch.Generator()), False),
        (lambda: torch.manual_seed(12345), True),
        (lambda: torch.ones(2) + 1, False),
        (random.random, True),
        (lambda: np.random.rand(), True),
    ],
)
def test_the_tripwire_tells_what_draws(call: Any, trips: bool) -> None:
    torch.manual_seed(0)
    with Tripwire(global_generators()) as wire:
        call()
    assert wire.tripped is trips


@pytest.mark.parametrize("ahead", [False, True])
def test_only_what_is_read_ahead_is_watched(ahead: bool) -> None:
    """A look at all generators takes 70 microseconds, a sixth of a small update."""
    depths = list[int]()

    def batches() -> Iterator[int]:
        for number in range(3):
            depths.append(torch._C._len_torch_function_stack())
            yield number

    with reading_ahead(ahead):
        assert list(watched(batches())) == [0, 1, 2]
    assert depths == [int(ahead)] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_travels_to_a_process_that_is_not_forked_as_its_state(kind: str) -> None:
    make, draw = KINDS[kind]
    generator = make()
    draw(generator)
    sent = bytes(ForkingPickler.dumps({"transforms": [generator]}))
    assert b"rebuild_storage" not in sent, "memory that may be gone before the other process opens it"
    arrived = ForkingPickler.loads(sent)["transforms"][0]
    assert arrived is not generator
    assert draw(arrived) == draw(generator)


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_seeding_is_torchs_and_keeps_nothing_for_devices_that_are_not_there(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = torch.get_rng_state()
        if not torch.accelerator.is_available():
            monkeypatch.setattr(torch, "manual_seed", None)
        with seeded():
            Randomness(torch.device("cpu")).seed(seed)
            assert torch.equal(torch.get_rng_state(), expected)


def test_the_mark_of_numpys_global_generator_is_its_memory() -> None:
    handle = global_generators()[1]
    before = np.random.get_state()
    try:
        np.random.seed(3)
        marks = []
        for _ in range(3):
            mark, state = handle.snapshot()
            assert type(mark) is bytes
            assert handle.mark() == mark
            marks.append(mark)
            np.random.rand()
        assert len(set(marks)) == 3
        handle.restore(state)
        assert handle.mark() == marks[-1]
    finally:
        np.random.set_state(before)
