import os

import pytest
import torch

from accel.plugins.backend import Backend
from accel.testing import fit_toy


def switches() -> tuple[object, ...]:
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    return (
        torch.backends.cudnn.benchmark, conv.fp32_precision, torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(),
    )  # fmt: skip


def test_switches_are_set_and_put_back() -> None:
    before = switches()
    seen = []

    class Look(Backend):
        def plan_notes(self):  # type: ignore[no-untyped-def]
            seen.append(switches())
            return super().plan_notes()

    fit_toy([Look(tf32=True, threads=2)])
    assert set(seen) == {(True, "tf32", "high", False, 2)}
    assert switches() == before


def test_they_are_put_back_after_an_error() -> None:
    before = switches()
    fit_toy([Backend(matmul_precision="medium", deterministic=True)], stop=1)
    assert switches() == before


def test_what_the_user_had_set_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        fit_toy([Backend(deterministic=True)])
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.parametrize(
    ("tf32", "matmul", "expected"), [(True, None, "high"), (False, None, "highest"), (False, "medium", "medium")]
)
def test_matmul_precision_follows_tf32_unless_said(tf32: bool, matmul: str | None, expected: str) -> None:
    backend = Backend(tf32=tf32, matmul_precision=matmul)  # type: ignore[arg-type]
    backend.apply(torch.device("cpu"))
    try:
        assert torch.get_float32_matmul_precision() == expected
    finally:
        backend.restore()


def test_deterministic_switches_the_benchmark_off() -> None:
    backend = Backend(deterministic=True)
    backend.apply(torch.device("cpu"))
    try:
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    finally:
        backend.restore()
