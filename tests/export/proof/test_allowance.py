"""What is right for an export: by its numbers, by what the model does itself, and by what was typed."""

from __future__ import annotations

import pytest

from accel.export.all_targets import target_class
from accel.export.proof.allowance import ROUNDED, allowance
from accel.export.proof.prove import ProofSettings
from accel.export.quantisation.variant import Variant


@pytest.mark.parametrize(
    ("variant", "rounds", "expected"),
    [
        ("float32", False, (1e-4, 1.0, None)),
        ("float32", True, (ROUNDED, 0.0, 0.5)),
        ("static", True, (0.25, 0.0, 0.5)),
        ("float16", False, (0.005, 0.0, 0.5)),
    ],
)
def test_floats_are_held_by_the_top_class_and_what_is_rounded_by_the_metric(
    variant: Variant, rounds: bool, expected: tuple[float, float, float | None]
) -> None:
    onnx = target_class("onnx")
    assert allowance(ProofSettings(), onnx, variant, rounds) == expected
    typed = ProofSettings(tolerance=1e-6, agreement=0.9)
    assert allowance(typed, onnx, variant, rounds) == (1e-6, 0.9, expected[2])
