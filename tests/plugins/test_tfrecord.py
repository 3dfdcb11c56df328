from __future__ import annotations

import gzip
import json
import multiprocessing
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accel.data.shards import crc32c
from accel.data.shards.feature_names import FeatureNames
from accel.data.shards.tfrecord_shards import TFRecords
from accel.errors import AccelWarning, ConfigError
from accel.plugins.tfrecord import TFRecord
from accel.tasks.images import Images
from accel.testing import fit_toy
from tests.support.shard_writer import digests, draw_folder, example, files, frame, slow_crc32c, write_records

pytest.importorskip("google_crc32c", reason="needs the extra tfrecord")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return draw_folder(tmp_path / "data", {"train": 6, "val": 2}, ("cat", "dog"))


def opened(root: Path, split: str, **settings: Any) -> Any:
    source = TFRecord(**settings)
    source.setup(None)  # type: ignore[arg-type]
    return source.open(Images(root=str(root), size=16, crop="resized").data(split), split)


@pytest.mark.parametrize("named", [True, False])
def test_the_batches_are_those_of_the_folder(root: Path, named: bool) -> None:
    for split in ("train", "val"):
        write_records(root / split, root / split, named=named)
        expected = digests(Images(root=str(root), size=16, crop="resized").data(split), split == "train")
        assert digests(opened(root, split), split == "train") == expected
        assert digests(opened(root, split), split == "train") == expected, "from the index that was kept"


def test_the_run_is_that_of_the_folder(root: Path) -> None:
    for split in ("train", "val"):
        write_records(root / split, root / split, first=1)

    def fit(*plugins: Any) -> Any:
        return Images(root=str(root), size=16, plugins=plugins, watch=(), batch_size=4, device="cpu").fit()

    plugin = TFRecord(path=str(root / "SPLIT.tfrecord-*"), first=1)
    plain, read = fit(), fit(plugin)
    assert plain.metrics == read.metrics
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), read.model.parameters(), strict=True))
    assert plugin.plan_notes()["train store"].startswith("12 pictures, 0.0 MB in 2 files, ")


@pytest.mark.parametrize("length", [0, 1, 3, 4, 100, 9000])
def test_the_checksum_is_the_one_bit_by_bit(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    assert crc32c.crc32c()(data) == slow_crc32c(data)


def test_the_checksum_of_the_standard() -> None:
    assert crc32c.crc32c()(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c.crc32c()(bytes(range(32))) == 0x46DD794E


def test_a_missing_package_is_named_before_a_file_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_records(root / "train", root / "train")
    monkeypatch.setitem(sys.modules, "google_crc32c", None)
    crc32c.crc32c.cache_clear()
    with pytest.raises(ConfigError, match=r"^TFRecord files need google-crc32c.*: pip install 'accel-train\[tfrecord\]'$"):
        TFRecords([str(root / "gone.tfrecord")])


def test_files_that_another_program_wrote(root: Path) -> None:
    """The frames by tensorboard, the records by protobuf's own library."""
    pytest.importorskip("tensorboard", reason="needs the extra tensorboard")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, str]) -> Any:
        actual = file.message_type.add(name=name)
        for field, number, kind, other in fields:
            repeated = kind in (3, 12, 2) or other == "t.Features.Entry"
            named = {"type_name": f".{other}"} if other else {}
            actual.field.add(name=field, number=number, type=kind, label=3 if repeated else 1, **named)  # type: ignore[arg-type]
        return actual

    message("BytesList", ("value", 1, 12, ""))
    message("FloatList", ("value", 1, 2, ""))
    message("Int64List", ("value", 1, 3, ""))
    message("Feature", *((kind, n, 11, f"t.{name}") for n, (kind, name) in enumerate(
        [("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")], 1)))  # fmt: skip
    features = message("Features", ("feature", 1, 11, "t.Features.Entry"))
    entry = features.nested_type.add(name="Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=9, label=1)
    entry.field.add(name="value", number=2, type=11, label=1, type_name=".t.Feature")
    message("Example", ("features", 1, 11, "t.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    make = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))
    store = files(root / "train")
    with (root / "train.tfrecord").open("wb") as stream:
        writer = RecordWriter(stream)
        for number in range(len(store)):
            record = make()
            feature = record.features.feature
            feature["image/encoded"].bytes_list.value.append(store.get(number))
            feature["image/class/label"].int64_list.value.append(store.label(number))
            feature["image/object/bbox/xmin"].float_list.value.extend([0.25, 0.5])
            feature["image/filename"].bytes_list.value.append(store.key(number).encode())
            writer.write(record.SerializeToString())
        writer.flush()
    read = TFRecords([str(root / "train.tfrecord")])
    assert [read.get(number) for number in range(12)] == [store.get(number) for number in range(12)]
    assert [read.label(number) for number in range(12)] == store.labels
    assert read.keys == [store.key(number) for number in range(12)]
    assert read.classes == ["cat", "dog"]


def test_a_bit_that_flipped_is_reported_by_record(root: Path) -> None:
    path, _ = write_records(root / "train", root / "train")
    store = TFRecords([str(path)])
    data = bytearray(path.read_bytes())
    at = int(store.columns["offsets"][2]) + 20
    data[at] ^= 4
    path.write_bytes(data)
    damaged = TFRecords([str(path)])
    assert damaged.get(1) == files(root / "train").get(1)
    start = int(store.columns["starts"][2]) - 12
    with pytest.raises(ConfigError, match=rf"cat/2.png \(record at byte {start:,} of .*-of-00002\) is damaged: its crc32c differs"):
        damaged.get(2)


def test_a_bit_that_flipped_in_a_length_or_a_feature(root: Path) -> None:
    path, _ = write_records(root / "train", root / "train")
    data = path.read_bytes()
    for at, message in (
        (0, "record 0, at byte 0, is damaged: the crc32c of its length differs"),
        (13, "record 0, .* its crc32c differs"),
    ):
        changed = bytearray(data)
        changed[at] ^= 64
        path.write_bytes(changed)
        with pytest.raises(ConfigError, match=message):
            TFRecords([str(path)])


@pytest.mark.parametrize("kept", [5, 14, -3])
def test_a_file_that_was_cut_short(root: Path, kept: int) -> None:
    path, _ = write_records(root / "train", root / "train")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"of-00002: record [05], at byte [\d,]+, is cut short"):
        TFRecords([str(path)])


def read_all(store: TFRecords) -> bytes:
    return b"".join(bytes(record) for record in store.get_many(range(len(store))))


def test_it_is_read_after_being_pickled_and_in_a_fork(root: Path) -> None:
    store = TFRecords([str(path) for path in write_records(root / "train", root / "train")])
    expected = read_all(store)
    assert read_all(pickle.loads(pickle.dumps(store))) == expected
    fresh = TFRecords(store_names(store))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(read_all, (fresh,)) == expected


def store_names(store: TFRecords) -> list[str]:
    return [file.name for file in store.shard_files]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\xff\xff", "record 0, at byte 0, is no tf.train.Example: a number does not end"),
        (
            example(image__encode=b"x", image__class__label=1),
            r"has no feature image/encoded \(tfrecord.image\); there are .*did you mean",
        ),
        (example(image__encoded=b"x"), r"has no feature image/class/label \(tfrecord.label\)"),
        (
            example(image__encoded=1, image__class__label=1),
            r"has whole numbers in the feature image/encoded .* and bytes are wanted",
        ),
        (
            example(image__encoded=b"x", image__class__label=-1),
            r"has the label -1, below that of the first class, 0 \(tfrecord.first\)",
        ),
        (example(), "there are none"),
    ],
)
def test_records_that_are_something_else(root: Path, record: bytes, message: str) -> None:
    (root / "x.tfrecord").write_bytes(frame(record))
    with pytest.raises(ConfigError, match=message):
        TFRecords([str(root / "x.tfrecord")])


def test_other_features_are_named_by_settings(root: Path) -> None:
    (root / "x.tfrecord").write_bytes(frame(example(picture=b"abc", y=3, kind="cow")))
    store = TFRecords([str(root / "x.tfrecord")], FeatureNames("picture", "y", "kind"), first=1)
    assert (store.get(0), store.label(0), store.classes) == (b"abc", 2, ["0", "1", "cow"])


def test_a_compressed_or_foreign_file(root: Path) -> None:
    path = root / "train.tfrecord"
    path.write_bytes(gzip.compress(b"records"))
    with pytest.raises(ConfigError, match=r"train.tfrecord is compressed by gzip, .* gunzip train.tfrecord"):
        opened(root, "train")
    path.write_bytes(b"no records at all")
    with pytest.raises(ConfigError, match=r"record 0, at byte 0, is damaged.* or this is no TFRecord file"):
        opened(root, "train")
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"train.tfrecord is empty"):
        opened(root, "train")


def test_files_of_another_data_set_are_refused(root: Path) -> None:
    write_records(root / "train", root / "train", first=1)
    with pytest.raises(ConfigError, match=r"has the classes 0, cat, dog \(3\), and|0.png .* has label 1, and .*0.png has 0"):
        opened(root, "train")
    assert len(opened(root, "train", first=1)) == 12


def test_data_that_reads_from_no_store() -> None:
    with pytest.warns(AccelWarning, match="tfrecord has no effect: the data is a TensorDataset"):
        fit_toy([TFRecord()])


def write_tfds(root: Path, target: Path, described: bool, names: tuple[str, str] = ("image", "label")) -> None:
    """As TensorFlow Datasets writes: NAME-SPLIT.tfrecord-00000-of-00002, with its metadata beside."""
    target.mkdir()
    for split, called in (("train", "train"), ("val", "validation")):
        store = files(root / split)
        for shard in range(2):
            records = [
                frame(example(**{names[1]: store.label(number), "file_name": store.key(number), names[0]: store.get(number)}))
                for number in range(shard * len(store) // 2, (shard + 1) * len(store) // 2)
            ]
            (target / f"pets-{called}.tfrecord-{shard:05}-of-00002").write_bytes(b"".join(records))
    (target / f"{names[1]}.labels.txt").write_text("cat\ndog\n")
    package = "tensorflow_datasets.core.features"
    kinds = {names[0]: "image_feature.Image", names[1]: "class_label_feature.ClassLabel", "file_name": "text_feature.Text"}
    content = {name: {"pythonClassName": f"{package}.{kind}"} for name, kind in kinds.items()}
    if described:
        (target / "features.json").write_text(json.dumps({"featuresDict": {"features": content}}))
        (target / "dataset_info.json").write_text("{}")


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("plugins", [(), (TFRecord(image="image", label="label", file="file_name"),)])
def test_the_layout_of_tensorflow_datasets_by_itself_and_by_settings(
    root: Path, tmp_path: Path, described: bool, plugins: tuple[TFRecord, ...]
) -> None:
    write_tfds(root, tmp_path / "tfds", described)
    expected, read = Images(root=str(root), size=16), Images(root=str(tmp_path / "tfds"), size=16, plugins=plugins)
    assert read.classes == ["cat", "dog"]
    for split in ("train", "val"):
        assert digests(read.data(split), split == "train") == digests(expected.data(split), split == "train")


def test_settings_reach_a_root_of_shards_alone(root: Path, tmp_path: Path) -> None:
    write_tfds(root, tmp_path / "tfds", False, ("left", "animal"))
    (tmp_path / "tfds" / "animal.labels.txt").unlink()
    read = Images(root=str(tmp_path / "tfds"), size=16, plugins=[TFRecord(image="left", label="animal")])
    expected = Images(root=str(root), size=16)
    assert digests(read.data("train"), True) == digests(expected.data("train"), True)
    with pytest.raises(ConfigError, match=r"has no feature right \(tfrecord.image\); there are animal, file_name, left"):
        Images(root=str(tmp_path / "tfds"), size=16, plugins=[TFRecord(image="right")])
    (tmp_path / "empty").mkdir()
    path = str(tmp_path / "tfds" / "pets-{SPLIT,SPLITidation}.tfrecord*").replace("{SPLIT,SPLITidation}", "SPLIT*")
    named = Images(root=str(tmp_path / "empty"), size=16, plugins=[TFRecord(path=path, image="left", label="animal")])
    assert digests(named.data("val"), False) == digests(expected.data("val"), False)


def test_names_that_leave_a_doubt_are_asked_for(root: Path, tmp_path: Path) -> None:
    picture = files(root / "train").get(0)
    for split in ("train", "val"):
        (tmp_path / f"{split}.tfrecord").write_bytes(frame(example(left=picture, right=picture, label=0)))
    with pytest.raises(ConfigError, match=r"has no feature image/encoded \(tfrecord.image\); there are label, left, right"):
        Images(root=str(tmp_path), size=16)


def test_shards_of_two_data_sets_in_one_folder_are_asked_for(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_records(root / "train", tmp_path / f"{name}-train")
    with pytest.raises(ConfigError, match=r"shards of 2 data sets for train: a, b; say which: plugins.tfrecord.path="):
        Images(root=str(tmp_path), size=16)
