"""Pictures that are read several together are those that are read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accel.data import Ring
from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.batches.mapped import MapBatches
from accel.data.codecs import tiled_jpeg
from accel.data.codecs.crops import random_resized
from accel.data.codecs.image_reader import ImageReader
from accel.data.datasets.image_folder import AugmentedFolder, Folder
from accel.data.loaders.thread_pool import ThreadPool
from accel.data.loaders.worker_pool import WorkerPool
from accel.data.sampling import sample_rng
from accel.data.store import Record
from accel.errors import BadSample
from tests.support.drawn_images import drawing, drawn
from tests.support.sample_datasets import md5

CLASSES = ["one", "two"]
COUNT = 22
READERS = [ImageReader(), ImageReader("simplejpeg", "linear")]


class Memory:
    """Store of records in memory; it says how often it was asked for several together."""

    kind, mapped = "Memory", True

    def __init__(self, records: list[Any], encoding: str = "original") -> None:
        self.records, self.encoding, self.asked, self.named = records, encoding, 0, 0

    def __len__(self) -> int:
        return len(self.records)

    def get(self, index: int) -> Record:
        if self.records[index] is None:
            raise BadSample(f"{self.name(index)} is gone; bring it back")
        record: Record = self.records[index]
        return record

    def get_many(self, indices: Sequence[int]) -> list[Record]:
        self.asked += 1
        return [self.get(index) for index in indices]

    def label(self, index: int) -> int:
        return index % 2

    def name(self, index: int) -> str:
        self.named += 1
        return f"record {index}"

    def fingerprint(self) -> str:
        return "memory"


def sizes() -> list[tuple[int, int]]:
    rng = np.random.default_rng(0)
    return [(int(wide), int(high)) for wide, high in rng.integers(20, 70, (COUNT, 2))]


def tiled() -> Memory:
    return Memory([memoryview(tiled_jpeg.encode(drawing(*size, seed=number), 85, 16)) for number, size in enumerate(sizes())])


def raw() -> Memory:
    return Memory([np.asarray(drawing(*size, seed=number)).data for number, size in enumerate(sizes())], "raw")


def jpegs() -> Memory:
    return Memory([drawn(*size) for size in sizes()])


def mapped(data: Any, rule: BadSampleRule) -> MapBatches:
    batches = make_batches(data, 11, 3, True, bad=rule)
    assert isinstance(batches, MapBatches)
    return batches


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("store", [tiled, raw, jpegs])
def test_batches_are_those_of_the_plain_loader(store: Callable[[], Memory], reader: ImageReader, tmp_path: Path) -> None:
    kinds = [AugmentedFolder(store(), CLASSES, 16, crop, True, reader) for crop in ("resized", "pad", "none")]  # type: ignore[arg-type]
    for data in [*kinds, Folder(store(), CLASSES, 16, 0.875, reader)]:  # type: ignore[arg-type]
        plain = make_batches(data, 20, seed=3, shuffle=True)
        wanted = [md5(plain.epoch(epoch)) for epoch in (0, 1)]
        source: Any = data.store
        assert source.asked == 0
        source.named = 0
        with Ring(data, 20, seed=3, shuffle=True, threads=2) as ring:
            assert [md5(ring.epoch(epoch)) for epoch in (0, 1)] == wanted
            assert md5(ring.epoch(1, 1)) == wanted[1][1:]
        assert source.asked
        assert source.named == 0, "no name is made of a picture that can be read"


@pytest.mark.parametrize("policy", ["skip", "substitute", "raise"])
def test_bad_pictures_have_the_same_fate_by_every_loader(policy: Any) -> None:
    store, rule = tiled(), BadSampleRule(policy, 1.0)
    for number, cut in ((3, 30), (4, 300), (17, 0)):  # within the index, within the tiles, not there at all
        store.records[number] = store.records[number][:cut] or None
    data = AugmentedFolder(store, CLASSES, 16, "resized", True, READERS[1])
    plain = mapped(data, rule)
    wanted = fate(plain.epoch(0))
    assert ("record" in wanted[-1]) == (policy == "raise")
    pool = ThreadPool(2)
    with Ring.from_batches(batches := mapped(data, rule), pool, 2, False) as ring:
        assert fate(ring.epoch(0)) == wanted
        assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
    workers = WorkerPool([batches := mapped(data, rule)], 2, 2, 60.0)
    assert fate(workers.batches(0, 0, 0)) == wanted
    assert batches.bad_sample_log.reasons == plain.bad_sample_log.reasons
    workers.close()


def fate(batches: Any) -> list[str]:
    """Digests of the batches, and the error after them."""
    actual: list[str] = []
    try:
        for batch in batches:
            actual += md5([batch])
    except BadSample as error:
        actual.append(str(error))
    return actual


@pytest.mark.parametrize("reader", READERS)
def test_a_sample_is_the_crop_of_its_box_and_mirrored_if_the_next_number_says_so(reader: ImageReader) -> None:
    data, mirrored = AugmentedFolder(tiled(), CLASSES, 16, "resized", True, reader), 0
    for index in range(COUNT):
        rng, picture = sample_rng(0, 0, index), data.picture(index)
        crop = picture.resized_crop(random_resized(*picture.size, rng), 16)
        if rng.random() < 0.5:
            crop, mirrored = crop[:, ::-1], mirrored + 1
        assert np.array_equal(data.sample(index, sample_rng(0, 0, index))[0].numpy(), crop)
    assert 0 < mirrored < COUNT
