"""Exports of other numbers than float32: they hold, are small, say what they are, and stand for the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from accel.errors import ConfigError
from accel.export.card import Card
from accel.export.export_settings import ExportSettings
from accel.export.exporter import Exporter
from accel.export.quantisation.calibration_data import calibration_inputs
from accel.export.quantisation.variant import Variant, setting_of
from accel.export.runtime.open_export import opened_export
from tests.support.drill_length import LONG
from tests.support.exported_runs import UNTIMED, make_exporter, skip_missing

pytestmark = pytest.mark.slow
onnx = pytest.importorskip("onnx", reason="needs the extra export-onnx")
Make = Callable[..., Exporter]


@pytest.fixture(scope="module")
def base(digits_run: Path) -> Exporter:
    """The exporter of the digits, whose evaluation of the torch model all others share."""
    skip_missing("onnx")
    return make_exporter(digits_run)


@pytest.fixture
def make(base: Exporter, tmp_path: Path) -> Make:
    """Makes exporters of the digits that write elsewhere."""

    def made(variant: Variant, proof: Any = UNTIMED, **quantise: Any) -> Exporter:
        named: dict[str, Any] = dict([setting_of(variant).split("=")])
        return Exporter(base.reference, ExportSettings(**named | {"samples": 48} | quantise, proof=proof), tmp_path)

    return made


def integers(folder: Path) -> dict[str, Any]:
    """Return the weights of 8 bits in an ONNX file, by name."""
    made = onnx.load(folder / "model.onnx")
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in made.graph.initializer}
    return {name: values for name, values in arrays.items() if values.dtype == np.int8 and values.ndim > 1}


@pytest.mark.parametrize("variant", ["static", "weights", *["dynamic", "float16"] * LONG])
def test_it_holds_by_the_drop_of_the_accuracy(variant: Variant, make: Make, base: Exporter) -> None:
    exporter = make(variant)
    outcome = exporter.export("onnx")
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder == exporter.run / f"export/onnx-{variant}"
    card, proof = Card.read(outcome.folder), outcome.proof
    assert proof is not None
    assert card.variant == variant
    assert proof.drop is not None
    assert (proof.drop.metric, proof.drop.unit, proof.max_drop) == ("accuracy", "points", 0.5)
    assert proof.drop.amount <= 0.5
    assert 1e-6 < proof.share < 0.25, "it is not the file of float32"
    assert exporter.check(outcome.folder).status == "holds"
    with opened_export(outcome.folder, base.reference.request.task) as model, torch.inference_mode():
        (pictures,) = base.reference.call.inputs
        assert torch.allclose(
            model(pictures), base.reference.model(pictures), atol=0.25 * float(base.reference.model(pictures).abs().max())
        )
    known = card.quantisation
    if variant == "static":
        assert (known["calibrate"], known["samples"], known["floats"]) == ("minmax", 48, [])
        assert set(known["sensitivity"]) == set(known["layers"]) == {"0", "3", "7", "12"}
        assert all(0 < error < 0.2 for error in known["sensitivity"].values())
        assert len(integers(outcome.folder)) == 4
    elif variant == "dynamic":
        assert known["layers"] == ["12"], "convolutions stay in floats"
    elif variant == "weights":
        assert (known["samples"], len(integers(outcome.folder))) == (None, 4)
    else:
        assert known == {}


def test_the_worst_layers_stay_in_floats_until_it_holds(make: Make) -> None:
    first = make("static").export("onnx")
    assert first.proof is not None
    asked = replace(UNTIMED, tolerance=0.95 * first.proof.share)
    outcome = make("static", asked, sensitivity=False).export("onnx")
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    assert outcome.proof is not None
    assert outcome.proof.share <= asked.tolerance
    known = Card.read(outcome.folder).quantisation
    worst = list(known["sensitivity"])
    assert known["floats"] == worst[: len(known["floats"])]
    assert 0 < len(known["floats"]) < 4
    assert len(integers(outcome.folder)) == len(known["layers"]) == 4 - len(known["floats"])


@pytest.mark.skipif(not LONG, reason="an export for each layer: make drill")
def test_what_holds_with_no_layer_of_8_bits_is_refused_with_the_figure(make: Make) -> None:
    exporter = make("static", replace(UNTIMED, tolerance=1e-9))
    outcome = exporter.export("onnx")
    assert outcome.status == "refused"
    assert "the largest difference is " in outcome.reason
    assert list((exporter.run / "export").iterdir()) == []


def test_a_metric_that_drops_is_refused_with_the_figure(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = make("weights")
    monkeypatch.setitem(exporter.reference.evaluation.metrics, "accuracy", 1.5)
    outcome = exporter.export("onnx")
    assert outcome.status == "refused"
    assert "accuracy is worse by " in outcome.reason
    assert outcome.reason.endswith(" points, and max_drop=0.5 is allowed")


def test_a_run_of_qat_ships_the_integers_that_it_trained(qat_run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    skip_missing("onnx")
    exporter = make_exporter(qat_run, ExportSettings(quantize="static", proof=UNTIMED))
    exporter.run = tmp_path
    outcome = exporter.export("onnx")
    assert outcome.status == "holds", outcome.reason
    assert outcome.folder is not None
    known = Card.read(outcome.folder).quantisation
    assert (known["calibrate"], known["samples"], known["sensitivity"]) == ("trained", None, {})
    shipped = {name: value for name, value in load_file(qat_run / "shipped.safetensors").items() if value.dtype == torch.int8}
    written = integers(outcome.folder)
    assert len(shipped) == len(written) == len(known["layers"]) == 4
    for name, value in shipped.items():
        own = written[next(one for one in written if one.startswith(f"model.{name}"))]
        assert np.array_equal(own, value.numpy())
    other = exporter.export("executorch")
    words = "the run was trained in 8 bits by qat, and target=executorch takes other ranges; onnx, ort, openvino ship its integers"
    assert (other.status, other.reason) == ("not run", words)
    for wrong in (ExportSettings(quantize="static", calibrate="entropy"), ExportSettings(quantize="static", samples=9)):
        with pytest.raises(ConfigError, match="has no effect: the run was trained in 8 bits by qat"):
            Exporter(exporter.reference, wrong, tmp_path)
    with pytest.raises(ConfigError, match="quantize=weights: the run was trained in 8 bits by qat; quantize=static"):
        Exporter(exporter.reference, ExportSettings(quantize="weights"), tmp_path)


def test_calibration_is_drawn_from_all_of_the_training_data_by_the_seed(base: Exporter) -> None:
    one, same, other = (calibration_inputs(base.reference, 40, seed) for seed in (0, 0, 1))
    assert sum(len(call[0]) for call in one) == 40
    assert all(torch.equal(*pair) for pair in zip((call[0] for call in one), (call[0] for call in same), strict=True))
    assert not torch.equal(one[0][0], other[0][0])
    training = base.reference.request.data("train").tensors[0].flatten(1)
    distance = torch.cdist(torch.cat([call[0] for call in one]).flatten(1), training)
    assert float(distance.min(1).values.max()) < 1e-3, "each is a training sample"


def test_empty_training_data_is_a_sentence(base: Exporter) -> None:
    empty = TensorDataset(torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))
    reference = replace_data(base, lambda split: empty)
    with pytest.raises(ConfigError, match="the training data is empty, and the ranges of integers are taken from it"):
        calibration_inputs(reference, 4, 0)


def replace_data(exporter: Exporter, data: Callable[[str], Any]) -> Any:
    from copy import copy

    reference = copy(exporter.reference)
    reference.request = replace(reference.request, data=data)
    return reference
