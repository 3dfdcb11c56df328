"""A layer with its norm folded in computes what both did in evaluation, whatever its shape."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from accel.compress.conv_norm_pairs import conv_norm_pairs
from accel.compress.fold_norms import fold_norms, norms_folded, place_folded, why_not_folded
from tests.compress.test_branched_conv import stirred

CLASSES: dict[bool, dict[int, Any]] = {
    False: {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d},
    True: {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d},
}
NORMS: dict[int, Any] = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@st.composite
def cases(draw: Any) -> tuple[nn.Module, Tensor]:
    """Return a model of a layer and its norm, and an input."""
    dims, is_transposed, bias = draw(st.integers(0, 3)), draw(st.booleans()), draw(st.booleans())
    groups = draw(st.integers(1, 3))
    channels, more = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    if dims == 0:
        layer: nn.Module = nn.Linear(channels, more, bias)
        x = torch.randn(draw(st.integers(1, 4)), channels)
    else:
        sizes = tuple(draw(st.integers(1, 3)) for _ in range(dims))
        stride, dilation = (tuple(draw(st.integers(1, 2)) for _ in sizes) for _ in range(2))
        mode = "zeros" if is_transposed else draw(st.sampled_from(("zeros", "replicate", "circular")))
        kind = CLASSES[is_transposed][dims]
        settings = {"stride": stride, "padding": 1, "dilation": dilation, "groups": groups, "bias": bias, "padding_mode": mode}
        layer = kind(channels, more, tuple(2 if is_transposed else size for size in sizes), **settings)
        x = torch.randn(draw(st.integers(1, 2)), channels, *[draw(st.integers(6, 7)) for _ in sizes])
    norm = NORMS[dims](more, eps=draw(st.sampled_from((1e-5, 1e-3))), affine=draw(st.booleans()))
    if norm.affine:
        stirred(norm)
    norm.running_mean.uniform_(-2, 2)
    norm.running_var.uniform_(0.2, 2)
    return nn.Sequential(layer, norm).eval(), x


@settings(max_examples=40, deadline=None)
@given(case=cases(), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_it_computes_what_both_did(case: tuple[nn.Module, Tensor], dtype: torch.dtype) -> None:
    model, x = case[0].to(dtype), case[1].to(dtype)
    assert conv_norm_pairs(model) == {"0": "1"}
    plain = deepcopy(model)
    with torch.no_grad():
        expected = model(x)
        with norms_folded(model, {"0": "1"}) as ranks:
            inside = model(x)
        assert ranks in ({}, {"0": True})
        assert torch.equal(model(x), expected), "afterwards it is what it was"
        folded, pairs = fold_norms(deepcopy(model), {"0": "1"})
        actual = folded(x)
    assert pairs == {"0": "1"}
    assert isinstance(folded[1], nn.Identity)  # type: ignore[index]
    bound = (1e-5 if dtype == torch.float32 else 1e-12) * max(1.0, float(expected.abs().max()))
    assert float((actual - expected).abs().max()) <= bound
    assert torch.equal(inside, actual), "an evaluation computes what is shipped"
    rebuilt = place_folded(plain, "0", "1")
    rebuilt.load_state_dict(folded.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(x), actual)


def test_a_norm_of_another_dimension_is_applied_as_it_is() -> None:
    """After a Linear the norm of (N, C, L) has the first of the two for channels, also where there are as many."""
    model = stirred(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))).eval()
    x = torch.randn(3, 4, 5)
    with torch.no_grad():
        expected = model(x)
        with norms_folded(model, conv_norm_pairs(model)) as ranks:
            assert torch.equal(model(x), expected)
            assert model[0].out_features == 4
        assert ranks == {"0": False}
        with norms_folded(model, {"0": "1"}) as ranks:
            model(x)
            model(x[:, 0])
        assert ranks == {"0": False}, "of both ranks"
        with norms_folded(model, {"0": "1"}) as ranks:
            pass
        assert ranks == {}, "none was seen"


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[2].weight = model[0].weight
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    model[1].register_forward_hook(lambda *_: None)
    return model


class Own(nn.Conv2d):
    """A convolution that may compute something else."""


NOT: dict[str, tuple[nn.Module, str]] = {
    "tied": (tied(), "has weights that other layers have too"),
    "hooks": (hooked(), "has hooks"),
    "a subclass": (nn.Sequential(Own(3, 4, 1), nn.BatchNorm2d(4)), "follows a Own"),
    "parametrised": (nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4)), "follows a ParametrizedLinear"),
    "no statistics": (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)), "is no BatchNorm"),
    "gone": (nn.Sequential(nn.Linear(4, 4)), "is gone"),
    "complex": (nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64), nn.BatchNorm1d(4)), "follows weights in torch.complex64"),
}


@pytest.mark.parametrize("name", NOT)
def test_what_cannot_be_folded_is_left(name: str) -> None:
    model, words = NOT[name]
    before = list(model.modules())
    assert words in why_not_folded(model, "0", "1")
    folded, pairs = fold_norms(model, {"0": "1"})
    assert pairs == {}
    with norms_folded(model, {"0": "1"}):
        assert list(model.modules()) == before
    assert list(folded.modules()) == before


def test_the_model_has_its_modules_back_after_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    before = list(model.modules())
    inside = norms_folded(model, {"0": "1", "2": "3"})
    inside.__enter__()
    assert isinstance(model[1], nn.Identity)
    assert not inside.__exit__(ZeroDivisionError, ZeroDivisionError(), None), "the error goes on"
    assert list(model.modules()) == before
