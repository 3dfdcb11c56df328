"""Runs of every plugin that shapes a model or its weights, exported to ONNX: each computes what was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from accel.export.export_outcome import ExportOutcome
from tests.support.drill_length import LONG
from tests.support.exported_runs import make_exporter, skip_missing, train_pictures

pytestmark = pytest.mark.slow
pytest.importorskip("PIL", reason="the pictures need the extra images")
MODEL = "task.model=tests.support.small_convnet.SmallConvnet"
RECIPES: dict[str, tuple[str, ...]] = {
    "cut": ("+plugins=[prune]",),
    "masked": ("+plugins=[prune]", "plugins.prune.mode=weights"),
    "branches": ("+plugins=[reparam]",),
    "folded": ("+plugins=[fold_bn]",),
    "signs": ("+plugins=[lowbit]",),
    "taught": ("+plugins=[distill]", "plugins.distill.teacher={teacher}"),
    "averaged": ("+plugins=[ema,amp,channels_last]",),
    "eight_bits": ("+plugins=[qat]",),
}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ExportOutcome]:
    """Trains a run and exports it to ONNX; a run without plugins is the teacher."""
    skip_missing("onnx")
    teacher: list[Path] = []

    def exported(recipe: str) -> ExportOutcome:
        words = RECIPES[recipe]
        if recipe == "taught":
            teacher.append(train_pictures(tmp_path_factory.mktemp("teacher"), MODEL))
            words = tuple(word.format(teacher=teacher[0]) for word in words)
        return make_exporter(train_pictures(tmp_path_factory.mktemp(recipe), MODEL, *words)).export("onnx")

    return exported


@pytest.mark.parametrize("recipe", RECIPES if LONG else ["cut", "branches", "averaged", "eight_bits"])
def test_the_export_of_every_recipe_computes_what_was_trained(recipe: str, export: Callable[[str], ExportOutcome]) -> None:
    if recipe == "eight_bits":
        pytest.importorskip("torchao", reason="needs the extra qat")
    outcome = export(recipe)
    assert outcome.status == "holds", outcome.reason
    assert outcome.proof is not None
    assert outcome.proof.rounds == (recipe == "eight_bits")
