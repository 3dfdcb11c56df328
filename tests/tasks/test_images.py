from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from accel.data.batches.make_batches import make_batches
from accel.data.codecs.pillow_decoder import decode
from accel.data.sampling import sample_rng
from accel.errors import ConfigError
from accel.plugins.augment import Augment
from accel.plugins.distill import Distill
from accel.tasks.images import Images
from accel.tasks.normalise import normalise
from tests.support.drawn_images import write_noise


class Net(nn.Module):
    """A model of the user's own."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, num_classes)

    def forward(self, pictures: Tensor) -> Tensor:
        out: Tensor = self.linear(pictures.mean((2, 3)))
        return out


class Stubborn(nn.Module):
    """Takes no num_classes, and inherits a signature that says otherwise."""


class Other(nn.Module):
    """Calls it something else."""

    def __init__(self, classes: int) -> None:
        super().__init__()


def test_trains_and_evaluates(pictures: Path) -> None:
    result = Images(root=str(pictures), size=16, watch=(), epochs=2, batch_size=4, device="cpu").fit()
    assert result.split == "test"
    assert set(result.metrics) == {"loss", "accuracy"}
    assert result.samples == 2 * 17


def test_learns_to_tell_dark_from_bright(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name, level in (("bright", 200), ("dark", 50)):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (16, 16), (level + number, level, level)).save(tmp_path / split / name / f"{number}.png")
    result = Images(root=str(tmp_path), size=16, watch=(), epochs=3, batch_size=4, device="cpu").fit()
    assert result.split == "val"
    assert result.metrics["accuracy"] == 1.0


def test_bytes_mixed_and_resized_on_the_device_reach_the_loss(pictures: Path) -> None:
    augment = Augment(mixup=0.2, cutmix=1.0, erasing=0.5, resize_from=0.5)
    result = Images(root=str(pictures), size=16, plugins=[augment], watch=(), epochs=4, batch_size=6, device="cpu").fit()
    assert augment.classes == 2, "as many as there are folders"
    assert result.samples == 4 * 17
    assert result.loss < 2


def test_val_goes_before_test(pictures: Path) -> None:
    shutil.copytree(pictures / "test", pictures / "val")
    assert Images(root=str(pictures)).evaluates == "val"


def test_batches_travel_as_bytes(pictures: Path) -> None:
    task = Images(root=str(pictures), size=16)
    for split in ("train", "test"):
        images, labels = next(make_batches(task.data(split), 5).epoch(0))
        assert images.dtype == torch.uint8
        assert images.shape == (5, 16, 16, 3)
        assert labels.dtype == torch.int64
    assert task.data("train").labels == [0] * 9 + [1] * 8
    assert [Path(file).suffix for file in task.data("train").files].count(".txt") == 0


@pytest.mark.parametrize(("crop", "flip"), [("pad", False), ("resized", False), ("none", True), ("resized", True)])
def test_augmentation_is_a_function_of_seed_epoch_and_index(pictures: Path, crop: Any, flip: bool) -> None:
    data = Images(root=str(pictures), size=16, crop=crop, flip=flip).data("train")
    seen = as_dict(data, batch_size=3, seed=1, epoch=2)
    assert as_dict(data, batch_size=17, seed=1, epoch=2) == seen
    assert as_dict(data, batch_size=17, seed=1, epoch=2, shuffle=False) == seen
    assert as_dict(data, batch_size=3, seed=1, epoch=3) != seen
    assert as_dict(data, batch_size=3, seed=2, epoch=2) != seen


def as_dict(data: Any, batch_size: int, seed: int, epoch: int, shuffle: bool = True) -> dict[int, bytes]:
    batches = make_batches(data, batch_size, seed, shuffle)
    actual = {}
    for number, keys in enumerate(batches.batches_of_indices(epoch)):  # type: ignore[attr-defined]
        images, _ = batches.fetch(epoch, keys, number)  # type: ignore[attr-defined]
        actual |= {key: image.numpy().tobytes() for key, image in zip(keys.tolist(), images, strict=True)}
    return actual


def test_nothing_random_when_switched_off(pictures: Path) -> None:
    task = Images(root=str(pictures), size=16, crop="none", flip=False)
    data = task.data("train")
    assert as_dict(data, 4, seed=0, epoch=0) == as_dict(data, 4, seed=9, epoch=9)


def test_flip_mirrors_half_of_the_pictures(pictures: Path) -> None:
    data = Images(root=str(pictures), size=16, crop="none").data("train")
    plain = Images(root=str(pictures), size=16, crop="none", flip=False).data("train")
    mirrored = 0
    for epoch in range(20):
        for index in range(len(data)):
            image, straight = data.sample(index, sample_rng(0, epoch, index))[0], plain[index][0]
            assert torch.equal(image, straight) or torch.equal(image, straight.flip(1))
            mirrored += torch.equal(image, straight.flip(1))
    assert 0.4 < mirrored / (20 * len(data)) < 0.6


def test_a_picture_of_one_pixel_can_be_mirrored(pictures: Path) -> None:
    data = Images(root=str(pictures), size=1).data("train")
    assert {data.sample(0, sample_rng(0, epoch, 0))[0].shape for epoch in range(10)} == {(1, 1, 3)}


@pytest.mark.parametrize("mode", ["I;16", "L", "1", "LA", "P", "RGBA"])
def test_pictures_of_every_mode_keep_their_brightness(mode: str) -> None:
    """Half grey, whatever it is stored as; without a warning for the transparency of a palette."""
    value: Any = {"I;16": 32896, "1": 1, "LA": (128, 9), "RGBA": (128, 128, 128, 9)}.get(mode, 128)
    picture, more = Image.new(mode, (4, 4), value), {}
    if mode == "P":
        picture.putpalette([level for level in range(256) for _ in range(3)])
        more["transparency"] = bytes(range(256))
    stream = BytesIO()
    picture.save(stream, "PNG", **more)
    actual = decode(stream.getvalue(), "x.png")
    assert actual.mode == "RGB"
    assert actual.getpixel((1, 1)) == ((255,) * 3 if mode == "1" else (128,) * 3)


def test_evaluation_shows_things_as_large_as_training_did(tmp_path: Path) -> None:
    """A picture with a white frame, which the inner seven eighths do not show."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            framed = Image.new("RGB", (64, 64), "white")
            framed.paste("black", (2, 2, 62, 62))
            framed.save(tmp_path / split / name / "0.png")
    whole = Images(root=str(tmp_path), size=32, crop="pad").data("test")[0][0]
    inner = Images(root=str(tmp_path), size=32, crop="resized").data("test")[0][0]
    assert whole.max() > 128
    assert inner.max() == 0


@pytest.mark.parametrize("model", ["small", "resnet18", f"{__name__}.Net"])
def test_models_by_name(pictures: Path, model: str) -> None:
    net = Images(root=str(pictures), model=model).model().eval()
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "resnet81"},
            "task.model must be small, resnet18, resnet50, airnet, airnet_s, a model of timm such as timm/resnet34, or a class .* "
            "did you mean 'resnet18'?",
        ),
        ({"model": "tim/resnet34"}, "did you mean 'timm/resnet34'?"),
        ({"model": "timm:resnet34"}, "did you mean 'timm/resnet34'?"),
        ({"model": "nowhere.Net"}, "task.model=nowhere.Net: there is no module nowhere to import"),
        ({"model": "nowhere.at.all.Net"}, "there is no module nowhere.at.all to import"),
        ({"model": f"{__name__}.Nett"}, "has no Nett; did you mean 'Net'?"),
        ({"model": "pathlib.Path"}, "must be a subclass of torch.nn.Module"),
        ({"model": f"{__name__}.Stubborn"}, r"cannot be called as Stubborn\(num_classes=2\)"),
        ({"model": f"{__name__}.Other"}, r"cannot be called as Other\(num_classes=2\): missing a required argument: 'classes'"),
        ({"size": 0}, "task.size must be a whole number from 1, not 0"),
        ({"crop": "padd"}, "task.crop must be pad or resized or none, not 'padd'; did you mean 'pad'?"),
        ({"flip": "yes"}, "task.flip must be true or false, not 'yes'"),
    ],
)
def test_settings_are_checked(pictures: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Images(root=str(pictures), **settings).model()


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed: tests/ecosystem has its models")
def test_timm_is_named_with_its_extra(pictures: Path) -> None:
    with pytest.raises(ConfigError, match=r"task.model=timm/resnet34 needs the package timm: pip install 'accel-train\[timm\]'"):
        Images(root=str(pictures), model="timm/resnet34")


def test_an_error_in_the_users_module_is_the_users(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_model.py").write_text("import no_such_package_here")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_here"):
        Images(root=str(pictures), model="broken_model.Net").model()


def spoil(split: str, name: str) -> Callable[[Path], None]:
    def move(root: Path) -> None:
        (root / split).rename(root / name)

    return move


def truncate(root: Path) -> None:
    file = root / "train" / "cat" / "0.png"
    file.write_bytes(file.read_bytes()[:200])


def no_picture(root: Path) -> None:
    (root / "train" / "cat" / "0.png").write_text("no picture at all")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "there is no such folder"),
        (spoil("train", "Train"), "has no folder train; .*did you mean 'Train'?"),
        (spoil("test", "holdout"), "has no folder val or test"),
        (lambda root: (root / "test" / "cow").mkdir(), "the class cow is in test alone; all splits must have the same classes"),
        (lambda root: shutil.rmtree(root / "test" / "dog"), "the class dog is in train alone"),
        (lambda root: [shutil.rmtree(root / "train" / name) for name in ("cat", "dog")], "has no class folders"),
        (lambda root: shutil.rmtree(root / "train" / "cat"), "has 1 class folder; it takes two or more"),
        (lambda root: [(root / split / "cow").mkdir() for split in ("train", "test")], r"cow has no pictures \(.apng, .avif"),
        (truncate, "cannot read the picture .*train/cat/0.png: .*truncated"),
        (no_picture, "cannot read the picture .*train/cat/0.png: its format is not known"),
    ],
)
def test_damaged_folders(pictures: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(pictures)
    with pytest.raises(ConfigError, match=message):
        Images(root=str(pictures), size=16, watch=(), epochs=1, device="cpu").fit()


@pytest.mark.slow
def test_without_pillow(pictures: Path) -> None:
    code = f"""
import sys
sys.modules["PIL"] = None
from accel.errors import ConfigError
from accel.data.sampling import sample_rng
from accel.plugins.augment import Augment
from accel.tasks.images import Images
try:
    Images(root={str(pictures)!r})
except ConfigError as error:
    assert "pip install 'accel-train[images]'" in str(error), error
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pictures_without_a_class_come_last_and_only_the_teacher_teaches_them(tmp_path: Path) -> None:
    write_noise(tmp_path, {"train": 4, "test": 2}, 12, 12)
    (tmp_path / "more").mkdir()
    for number, name in enumerate(("cat/0", "dog/1", "dog/2")):
        (tmp_path / "train" / f"{name}.jpg").rename(tmp_path / "more" / f"{number}.jpg")
    settings: dict[str, Any] = {"root": str(tmp_path), "size": 8, "flip": False, "watch": (), "device": "cpu", "batch_size": 4}
    teacher = Images(**settings).model()
    task = Images(**settings, unlabelled="more", plugins=[Distill(teacher=teacher, weight=0.5)], updates=2)
    data = task.data("train")
    assert [label for _, label in data] == [0, 0, 0, 1, 1, -1, -1, -1]
    assert [Path(name).name for name in data.files[-3:]] == ["0.jpg", "1.jpg", "2.jpg"]
    pictures, labels = torch.stack([picture for picture, _ in data]), torch.tensor([label for _, label in data])
    net = task.model().eval()
    known = torch.nn.functional.cross_entropy(net(normalise(pictures[:5])), labels[:5], reduction="sum") / 8
    assert torch.allclose(task.loss(net, (pictures, labels)), known), "a mean over all, to which they add nothing"
    assert not task.loss(net, (pictures[5:], labels[5:]))
    assert task.fit().updates == 2
    with pytest.raises(ConfigError, match=r"task\.unlabelled needs a teacher"):
        Images(**settings, unlabelled="more")
    with pytest.raises(ConfigError, match="no has no pictures"):
        Images(**settings, unlabelled="no", plugins=[Distill(teacher=teacher)]).data("train")
    with pytest.raises(ConfigError, match=r"task\.unlabelled and augment cannot work together"):
        Images(**settings, unlabelled="more", plugins=[Distill(teacher=teacher), Augment()])
