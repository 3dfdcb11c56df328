"""Files that their engine does not take: the sentence says whether they are those that were exported."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accel.errors import ConfigError
from accel.export.card import Card, file_facts
from accel.export.proof import prove as proving
from accel.export.proof.proof import Allowance
from accel.export.runtime.engine_process import RuntimeFailed
from accel.export.tensor_info import TensorInfo

REFERENCE: Any = SimpleNamespace(request=SimpleNamespace(task=SimpleNamespace(normalisation=None)))


@pytest.mark.parametrize(
    ("fault", "clause"),
    [
        ("none", "model.ts cannot be loaded or run: no graph"),
        ("cut", "model.ts is not the file of card.json (another sha256; export the run again), and model.ts cannot be loaded"),
        ("gone", "model.ts is not the file of card.json (it is not there; export the run again), and model.ts cannot be loaded"),
    ],
)
def test_a_file_that_cannot_be_run(fault: str, clause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, info = tmp_path / "model.ts", TensorInfo("x", ("batch", 2), "float32")
    file.write_bytes(b"a model")
    card = Card("torchscript", file.name, file_facts(tmp_path), [info], [info], [], [], None, None, "caller", [], "last")
    if fault == "cut":
        file.write_bytes(b"a mod")
    elif fault == "gone":
        file.unlink()

    def fail(*words: Any) -> None:
        raise RuntimeFailed("no graph")

    monkeypatch.setattr(proving, "RuntimeProcess", fail)
    with pytest.raises(ConfigError) as refused:
        proving.prove(tmp_path, card, REFERENCE, SimpleNamespace(), proving.ProofSettings(), Allowance(1e-4, 1.0, 0.5))  # type: ignore[arg-type]
    assert str(refused.value).startswith(f"target=torchscript: {clause}")
