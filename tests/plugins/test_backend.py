import os
from collections.abc import Callable, Iterator

import pytest
import torch

from accel.plugins.backend import Backend
from accel.testing import fit_toy

PRECISIONS = [("generic", "all"), *((backend, kind) for backend in ("cuda", "mkldnn") for kind in ("all", "conv", "rnn", "matmul"))]


@pytest.fixture
def own_precisions() -> Iterator[None]:
    """Leave torch's switches of float32 products as in a new process, but for cuDNN's default, which is set."""
    yield
    torch._C._set_cudnn_allow_tf32(True)
    torch.set_float32_matmul_precision("highest")
    for name in PRECISIONS:
        precision = "tf32" if name in (("cuda", "conv"), ("cuda", "rnn")) else "none"
        torch._C._set_fp32_precision_setter(*name, precision)


def precisions() -> dict[str, object]:
    """Everything that either interface says, or that it raises."""
    numbers: dict[str, object] = {"/".join(name): torch._C._get_fp32_precision_getter(*name) for name in PRECISIONS}
    old: dict[str, Callable[[], object]] = {
        "cudnn": lambda: torch.backends.cudnn.allow_tf32,
        "cublas": lambda: torch.backends.cuda.matmul.allow_tf32,
        "matmul": torch.get_float32_matmul_precision,
    }
    for name, read in old.items():
        try:
            numbers[name] = read()
        except RuntimeError:
            numbers[name] = "raises"
    return numbers


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


OLD = {"nothing": [], "old off": [False], "old on": [True]}
NEW = {
    "nothing": [],
    "convolution": [("cuda", "conv", "ieee")],
    "rnn": [("cuda", "rnn", "ieee")],
    "both": [("cuda", "conv", "ieee"), ("cuda", "rnn", "ieee")],
    "everything tf32": [("generic", "all", "tf32")],
    "everything ieee": [("generic", "all", "ieee")],
    "cuda ieee": [("cuda", "all", "ieee")],
    "mkldnn bf16": [("mkldnn", "all", "bf16"), ("cuda", "matmul", "tf32")],
}


@pytest.mark.usefixtures("own_precisions")
@pytest.mark.parametrize("tf32", [True, False])
@pytest.mark.parametrize("new", NEW)
@pytest.mark.parametrize("old", OLD)
def test_both_interfaces_of_float32_precision_can_be_read_and_come_back(old: str, new: str, tf32: bool) -> None:
    for allowed in OLD[old]:
        torch.backends.cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision("high" if allowed else "highest")
    for name in NEW[new]:
        torch._C._set_fp32_precision_setter(*name)
    before = precisions()
    backend = Backend(tf32=tf32)
    backend.apply(torch.device("cpu"))
    during = precisions()
    backend.restore()
    after = precisions()
    assert after == before
    assert "raises" not in during.values()
    assert (during["cudnn"], during["cublas"], during["matmul"]) == (tf32, tf32, "high" if tf32 else "highest")
    assert {during[f"cuda/{kind}"] for kind in ("conv", "rnn", "matmul")} == {"tf32" if tf32 else "ieee"}


@pytest.mark.usefixtures("own_precisions")
def test_one_general_switch_goes_on_to_reach_what_nobody_has_set() -> None:
    torch._C._set_fp32_precision_setter("cuda", "matmul", "none")
    backend = Backend(tf32=True)
    backend.apply(torch.device("cpu"))
    backend.restore()
    torch._C._set_fp32_precision_setter("generic", "all", "tf32")
    assert torch._C._get_fp32_precision_getter("cuda", "matmul") == "tf32"
