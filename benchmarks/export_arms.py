"""The models that export.py exports: what ship.py trains, a GPT, and a vision transformer of timm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ship_arms import ARMS as SHIPPED

from accel.cli.export.export_command import KINDS

FEW = "[onnx,ort,openvino]"
"""Targets of the models that are not of ship.py."""
ENGINE_PACKAGES = {"tvm": "apache-tvm", "executorch": "executorch", "litert": "litert-torch"}
"""Packages of the engines that clash with others, by target."""


@dataclass(frozen=True)
class Model:
    """A run, and the words of its exports.

    Args:
        about: what it is.
        train: overrides of the run, without folders; empty for a run of ship.py.
        export: words behind `accel export RUN`.
        data: setting that names its data.
        missing: returns why it cannot run here, or nothing.
    """

    about: str
    export: tuple[str, ...]
    train: tuple[str, ...] = ()
    data: str = "task.root"
    missing: Callable[[], str] = str


def timm_missing() -> str:
    """Return why there is no timm here, or nothing."""
    from timm_vit import missing

    return missing()


def quantize_missing() -> str:
    """Return why nothing is exported in 8 bits here, or nothing."""
    return "" if "quantize" in KINDS else "accel export has no setting quantize"


MODELS = {
    name: Model(SHIPPED[name].about, ("target=all",), missing=SHIPPED[name].missing)
    for name in ("plain", "distilled", "pruned", "reparam", "qat")
} | {
    "plain, 8 bits": Model("plain, quantised as it is exported", ("target=all", "quantize=static"), missing=quantize_missing),
    "qat, 8 bits": Model("qat, as the integers that it has trained", ("target=all", "quantize=static"), missing=quantize_missing),
    "gpt": Model(
        "4 blocks, 128 channels, on text; any length up to 128",
        (f"target={FEW}", "dynamic=length", "evaluate.batches=20"),
        ("task=text", "task.context=128", "+plugins=[adamw]", "plugins.adamw.lr=0.001", "batch_size=32", "updates=60"), "task.path",
    ),
    "vit": Model(
        "vit_tiny of timm, pictures resized to 64 pixels", (f"target={FEW}", "evaluate.batches=32"),
        ("task=images", "task.model=timm_vit.TinyViT", "task.size=64", "+plugins=[adamw]", "plugins.adamw.lr=0.0005",
         "batch_size=32", "updates=30"), missing=timm_missing,
    ),
}  # fmt: skip


def base_of(name: str) -> str:
    """Return the model whose run an export is of: its own, or the one that it is another form of."""
    return name.partition(",")[0]


def ship_words(root: Path, work: Path, names: list[str], epochs: int | None) -> list[str]:
    """Return the words of the call of ship.py that trains models, by one seed."""
    arms = [name for name in dict.fromkeys(map(base_of, names)) if name in SHIPPED]
    more = [] if epochs is None else ["--epochs", str(epochs)]
    return [str(Path(__file__).with_name("ship.py")), str(root), "--seeds", "1", "--work", str(work), *more, "--arms", *arms]
