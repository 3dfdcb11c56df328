"""Every target: what it writes computes what was trained, and what computes something else is refused with the figure."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from accel.cli.train_command import main
from accel.errors import ConfigError
from accel.export import exporter as exporter_module
from accel.export.all_targets import TARGETS, make_target, target_class
from accel.export.card import Card
from accel.export.example import ModelCall, make_example
from accel.export.export_settings import ExportSettings
from accel.export.exporter import Exporter
from accel.export.pixel_normalisation import PixelNormalisation
from accel.export.quantisation.quantisation import Quantisation
from accel.export.runtime.open_export import opened_export
from accel.export.runtime.runtime_process import RuntimeProcess
from accel.export.target import Target
from accel.export.tensor_info import TensorInfo
from tests.support.exported_runs import UNTIMED, make_exporter, python_of, skip_missing

pytestmark = pytest.mark.slow


def convolutions(exporter: Exporter) -> list[tuple[str, nn.Conv2d]]:
    """The convolutions of the model that is exported, with their paths. The first sees the three colours."""
    return [(path, module) for path, module in exporter.model.named_modules() if isinstance(module, nn.Conv2d)]


def tampered(exporter: Exporter) -> str:
    path, layer = convolutions(exporter)[1]
    assert len(convolutions(exporter)) > 2, "it is one in the middle"
    with torch.no_grad():
        layer.weight.mul_(1.01)
    return f"the first layer that departs is {path} (conv"


def swapped_channels(exporter: Exporter) -> str:
    path, layer = convolutions(exporter)[0]
    with torch.no_grad():
        layer.weight.copy_(layer.weight.flip(1))
    return f"the first layer that departs is {path} (conv"


def wrong_normalisation(exporter: Exporter) -> str:
    assert exporter.normalisation is not None
    exporter.normalisation = replace(exporter.normalisation, std=(0.25, 0.25, 0.25))
    return "what the file is given departs already, by 0."


FAULTS: dict[str, Callable[[Exporter], str]] = {
    "a weight is another": tampered,
    "the colours are swapped": swapped_channels,
    "the normalisation is another": wrong_normalisation,
}


def marked(name: str, *words: str) -> Any:
    """A case of a target; `engine` where its engine lives in an environment of its own."""
    return pytest.param(name, *words, marks=[pytest.mark.engine] if target_class(name).lives_apart else [])


CASES = [*(("onnx", fault) for fault in FAULTS), *(marked(name, "a weight is another") for name in TARGETS if name != "onnx")]


def given_engine(exporter: Exporter, name: str) -> None:
    """Let an exporter have the interpreter that has the engine of a target; skip if there is none."""
    skip_missing(name)
    exporter.settings = replace(exporter.settings, proof=replace(exporter.settings.proof, python=python_of(name)))


@pytest.mark.parametrize("name", [marked(name) for name in TARGETS])
def test_what_is_exported_is_what_was_trained(name: str, exporter: Exporter) -> None:
    given_engine(exporter, name)
    outcome = exporter.export(name)
    assert outcome.status == "holds", outcome.reason
    proof, folder = outcome.proof, outcome.folder
    assert proof is not None
    assert folder == exporter.run / "export" / name
    assert proof.samples == 20
    assert 0 < proof.share < 1e-4
    assert proof.agreement == 1
    assert proof.export_metrics == pytest.approx(proof.metrics, rel=1e-4)
    card = Card.read(folder)
    assert (card.target, card.classes, card.weights.split()[0]) == (name, ["cat", "dog"], "last")
    assert card.inputs[0].shape[1:] == (3, 16, 16)
    assert set(target_class(name).distributions) <= set(card.versions)
    assert {file.name for file in folder.iterdir()} == {*card.files, "card.json"}
    assert card.proof["share"] == proof.share
    assert exporter.check(folder).status == "holds"


@pytest.mark.parametrize(("name", "fault"), CASES)
def test_what_computes_something_else_is_refused(name: str, fault: str, exporter: Exporter) -> None:
    given_engine(exporter, name)
    where = FAULTS[fault](exporter)
    outcome = exporter.export(name)
    assert outcome.status == "refused"
    assert "the largest difference is 0." in outcome.reason
    if target_class(name).layers is not Target.layers:  # files of the others keep no names
        assert where in outcome.reason
        assert outcome.as_dict()["proof"]["departure"]["share"] > 1e-3
    assert not (exporter.run / "export" / name).exists(), "nothing of it is left"
    assert list((exporter.run / "export").iterdir()) == []


@pytest.mark.parametrize("name", ["torchscript", "onnx"])
def test_the_normalisation_goes_into_the_graph(name: str, pictures_run: Path, exporter: Exporter) -> None:
    skip_missing(name)
    exporter.settings = replace(exporter.settings, preprocess=True)
    outcome = exporter.export(name)
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    card = Card.read(outcome.folder)
    assert (card.preprocessing, card.inputs[0].type, card.inputs[0].shape[1:]) == ("graph", "uint8", (16, 16, 3))


def test_a_normalisation_of_the_graph_is_proven(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_missing("onnx")
    exporter.settings = replace(exporter.settings, preprocess=True)
    own = exporter.normalisation
    assert own is not None
    other = PixelNormalisation(own.mean[::-1], own.std[::-1])
    make = exporter_module.GraphModule
    monkeypatch.setattr(exporter_module, "GraphModule", lambda model, example, inside=None: make(model, example, inside and other))
    outcome = exporter.export("onnx")
    assert outcome.status == "refused"
    assert "the largest difference is 0." in outcome.reason
    assert "the first operator that departs is addcmul, which is in no layer" in outcome.reason


def test_one_sample_at_a_time(exporter: Exporter) -> None:
    skip_missing("onnx")
    exporter.settings = replace(exporter.settings, dynamic="none")
    outcome = exporter.export("onnx")
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    assert Card.read(outcome.folder).inputs[0].shape == (1, 3, 16, 16)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_says_what_it_is(name: str) -> None:
    kind = target_class(name)
    assert kind.name == name
    assert kind.about
    assert kind.__doc__
    assert "http" in kind.__doc__
    assert bool(kind.extra) == bool(kind.builds_with or kind.runs_with)


def test_a_setting_of_another_target_is_none_of_this_one() -> None:
    assert not hasattr(make_target("pt2", {"opset": 18}), "opset")
    assert getattr(make_target("onnx", {"opset": 18}), "opset", 0) == 18
    assert getattr(make_target("onnx", {"opset": None}), "opset", 0) == 20


def test_a_target_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match=r"target=onx: there is no such target; did you mean 'onnx'\?"):
        target_class("onx")


def test_a_card_with_another_normalisation_is_refused(exporter: Exporter) -> None:
    skip_missing("onnx")
    folder = exporter.export("onnx").folder
    assert folder is not None
    card = json.loads((folder / "card.json").read_text())
    for wrong in ({"mean": [0.5] * 3, "std": [0.5] * 3}, {name: values[::-1] for name, values in card["normalisation"].items()}):
        (folder / "card.json").write_text(json.dumps(card | {"normalisation": wrong}))
        outcome = exporter.check(folder)
        assert outcome.status == "refused"
        assert "the largest difference is 0." in outcome.reason
    (folder / "card.json").write_text(json.dumps(card | {"normalisation": None}))
    with pytest.raises(ConfigError, match="the card has no normalisation, and the task has one"):
        exporter.check(folder)


def test_a_model_that_cannot_be_followed_is_a_sentence_with_its_line(exporter: Exporter) -> None:
    exporter.plain = Branching(exporter.plain)
    with pytest.raises(ConfigError, match=r"target=pt2: the model cannot be exported: .*line \d+: if out\[0, 0\] > self.limit"):
        exporter.export("pt2")
    assert list((exporter.run / "export").iterdir()) == []


@pytest.mark.parametrize("name", ["torchscript", "ncnn"])
def test_a_trace_of_one_way_through_a_model_is_no_export(name: str, exporter: Exporter) -> None:
    # on these pictures it goes the same way always, so that their outputs tell nothing
    given_engine(exporter, name)
    exporter.plain = exporter.reference.model = exporter.model = Branching(exporter.plain, 1e6)
    with pytest.raises(ConfigError, match=r"a trace has but one way through it: .*line \d+: if out\[0, 0\] > self.limit"):
        exporter.export(name)


def test_a_trace_that_keeps_a_number_is_no_export(exporter: Exporter) -> None:
    exporter.plain = Scaled(exporter.plain)
    with pytest.raises(ConfigError, match="a trace keeps them as they were in one call; export it by another target"):
        exporter.export("torchscript")


@pytest.mark.parametrize("kind", ["sizes", "its own weights"])
def test_a_trace_may_read(kind: str, exporter: Exporter) -> None:
    exporter.plain = Sized(exporter.plain) if kind == "sizes" else Weighted(exporter.plain)
    assert exporter.export("torchscript").status == "holds"


class Branching(nn.Module):
    """A model whose way depends on the numbers in a tensor."""

    def __init__(self, inner: nn.Module, limit: float = 0.0) -> None:
        super().__init__()
        self.inner, self.limit = inner, limit

    def forward(self, pictures: torch.Tensor) -> Any:
        out = self.inner(pictures)
        if out[0, 0] > self.limit:
            return out + 1
        return out


class Scaled(nn.Module):
    """A model that takes a number out of a tensor."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pictures: torch.Tensor) -> Any:
        return self.inner(pictures) * pictures.mean().item()


class Weighted(Scaled):
    """A model that takes a number out of a buffer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.register_buffer("one", torch.tensor([1.0, 2.0]))

    def forward(self, pictures: torch.Tensor) -> Any:
        return self.inner(pictures) * self.one[0].item()


class Sized(Scaled):
    """A model that looks at the sizes of what it is given."""

    def forward(self, pictures: torch.Tensor) -> Any:
        if pictures.shape[1] != 3 or pictures.shape[2] < 2:
            raise ValueError("no pictures")
        return self.inner(pictures)


def test_the_reference_is_the_averaged_model(pictures_run: Path) -> None:
    import accel

    model = accel.load(pictures_run)
    own = make_exporter(pictures_run).reference.model.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["pt2", "onnx"])
def test_a_text_of_any_length(name: str, tmp_path: Path) -> None:
    skip_missing(name)
    (tmp_path / "text").write_bytes(b"the quick brown fox jumps over the lazy dog; " * 40)
    words = ["task=text", f"task.path={tmp_path / 'text'}", "task.context=16", "task.width=16", "task.layers=1", "updates=2"]
    assert main([*words, "device=cpu", "~plugins.progress", f"out={tmp_path / 'run'}"]) == 0
    exporter = make_exporter(tmp_path / "run", ExportSettings(dynamic="length", proof=UNTIMED))
    outcome = exporter.export(name)
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    assert Card.read(outcome.folder).inputs == [TensorInfo("tokens", ("batch", "length"), "int64")]
    with opened_export(outcome.folder, exporter.reference.request.task) as model, torch.inference_mode():
        for shape in ((1, 3), (5, 16)):
            tokens = torch.randint(256, shape)
            assert torch.allclose(model(tokens), exporter.reference.model(tokens), atol=1e-5)


def test_tensorrt_is_written_and_not_run_without_its_gpu(exporter: Exporter, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_missing("onnx")
    load = ctypes.CDLL
    monkeypatch.setattr("ctypes.CDLL", lambda name, *words: refused() if name else load(name, *words))
    outcome = exporter.export("tensorrt")
    assert (outcome.status, outcome.proof) == ("not run", None)
    assert "needs a CUDA device to run" in outcome.reason
    assert outcome.folder is not None
    card = Card.read(outcome.folder)
    assert (card.proof, set(card.files)) == ({}, {"model.onnx", "build_engine.py"})
    with pytest.raises(ConfigError, match="target=tensorrt needs the package tensorrt"):
        exporter.check(outcome.folder)
    program = [sys.executable, str(outcome.folder / "build_engine.py")]
    done = subprocess.run(program, capture_output=True, text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert "No module named 'tensorrt'" in done.stderr


def refused() -> Any:
    raise OSError("there is no such library")


@pytest.mark.engine
@pytest.mark.parametrize("fusion", [True, False])
def test_tvm_merges_operators_where_it_is_told_to(fusion: bool, exporter: Exporter) -> None:
    given_engine(exporter, "tvm")
    exporter.settings = replace(exporter.settings, fusion=fusion)
    outcome = exporter.export("tvm")
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    names = (outcome.folder / "model.so").read_bytes()
    assert (b"fused_" in names) == fusion


@pytest.mark.engine
def test_executorch_computes_in_integers(tmp_path: Path) -> None:
    skip_missing("executorch")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.Flatten(), nn.LazyLinear(4)).eval()
    pictures = torch.randn(8, 3, 8, 8)
    expected = model(pictures).detach()
    example = make_example(model, ModelCall((pictures,), {}, None), "none", 1)
    sizes, outputs = [], []
    for settings in ({}, {"variant": "static", "quantisation": Quantisation((), calibration=((pictures,),))}):
        folder = tmp_path / f"{len(sizes)}"
        folder.mkdir()
        make_target("executorch", {"python": python_of("executorch"), **settings}).build(model, example, folder)
        with RuntimeProcess("executorch", folder, 1, python_of("executorch")) as process:
            outputs.append(torch.from_numpy(process.run([pictures[:1].numpy()]).outputs[0]))
        sizes.append((folder / "model.pte").stat().st_size)
    errors = [float((output - expected[:1]).abs().max() / expected.abs().max()) for output in outputs]
    assert errors[0] < 1e-5 < errors[1] < 0.05
    assert sizes[1] < 0.4 * sizes[0]
