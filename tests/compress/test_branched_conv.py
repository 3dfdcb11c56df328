"""A merged convolution computes the sum of its branches, whatever its shape."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accel.compress.add_branches import BranchPlan, branch_names, insert_branches, start_branches, why_not
from accel.compress.branched_conv import BranchedConv
from accel.compress.merge_branches import merge_branches, place_merged

KINDS = ("repvgg", "acnet")
CLASSES: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def stirred(module: nn.Module) -> nn.Module:
    """Give norms the scales, shifts and statistics that training might."""
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.2, 2.0)
    return module


def sum_of_branches(branched: BranchedConv, x: Tensor) -> Tensor:
    """Return what the branches give together with the statistics of an evaluation."""
    branched = deepcopy(branched).eval()
    branched.training = False
    for child in branched.children():
        child.eval()
    branched.training = True  # of this module alone: its norms stay in evaluation
    with torch.no_grad():
        return branched(x)  # type: ignore[no-any-return]


@st.composite
def cases(draw: Any) -> tuple[str, nn.Module, Tensor]:
    """Return a kind, a model of a convolution and its norm, and an input."""
    kind = draw(st.sampled_from(KINDS))
    dims = 2 if kind == "acnet" else draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    channels, more = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    sizes = tuple(draw(st.sampled_from((3, 5) if kind == "acnet" else (1, 3, 5))) for _ in range(dims))
    if set(sizes) == {1}:
        sizes = (3, *sizes[1:])
    dilation = tuple(draw(st.integers(1, 2)) for _ in sizes)
    padding: Any = tuple(draw(st.integers(0, 4)) for _ in sizes)
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular")))
    stride: Any = tuple(draw(st.integers(1, 3)) for _ in sizes)
    if draw(st.integers(0, 4)) == 0:
        padding, stride = "same", (1,) * dims
    if dims == 3 and mode == "reflect":
        mode = "zeros"
    bias, normed = draw(st.booleans()), draw(st.booleans())
    conv = CLASSES[dims](channels, more, sizes, stride, padding, dilation, groups, bias, mode)
    model = nn.Sequential(conv, NORMS[dims](more, eps=draw(st.sampled_from((1e-5, 1e-2)))) if normed else nn.Identity())
    return kind, model, torch.randn(2, channels, *[draw(st.integers(9, 12)) for _ in sizes])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(cases(), st.booleans())
def test_merged_is_the_sum_of_the_branches(case: tuple[str, nn.Module, Tensor], has_norm: bool) -> None:
    kind, model, x = case
    assert why_not(model[0], kind) == ""  # type: ignore[index]
    norm = "1" if isinstance(model[1], nn.modules.batchnorm._BatchNorm) else None  # type: ignore[index]
    plan = BranchPlan(branch_names(model[0], kind), norm, norm is None and has_norm)  # type: ignore[index]
    branched = stirred(insert_branches(model, "0", plan))[0]  # type: ignore[index]
    assert isinstance(branched, BranchedConv)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        branched.to(dtype)
        expected = sum_of_branches(branched, x.to(dtype))
        scale = max(1.0, float(expected.abs().max()))
        merged = merge_branches(deepcopy(branched))
        branched.eval()
        with torch.no_grad():
            for computed in (merged(x.to(dtype)), branched(x.to(dtype))):
                assert computed.shape == expected.shape
                assert float((computed - expected).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_of_a_plain_convolution_goes_on_where_it_is(kind: str) -> None:
    """With scales of 0 the function is that of before, in training and in evaluation, and the branches learn."""
    model = stirred(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))
    plain = deepcopy(model)
    branched = insert_branches(model, "0", BranchPlan(branch_names(model[0], kind), "1"))  # type: ignore[index]
    start_branches(branched[0], "same", kind)  # type: ignore[index]
    x = torch.randn(2, 4, 6, 6)
    for mode in (True, False):
        assert torch.allclose(branched.train(mode)(x), plain.train(mode)(x), atol=1e-6)
    branched.train()(x).square().mean().backward()
    assert all(bool(branch.norm.weight.grad.any()) for branch in list(branched[0].children())[1:])  # type: ignore[index]


@pytest.mark.parametrize("kind", KINDS)
def test_scales_at_the_start_are_those_of_the_papers(kind: str) -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
    with torch.no_grad():
        model[1].weight.copy_(torch.arange(4.0))  # zeros of a residual block stay so
    insert_branches(model, "0", BranchPlan(branch_names(model[0], kind), "1"))
    start_branches(model[0], "paper", kind)  # type: ignore[arg-type]
    for branch in model[0].children():
        assert torch.equal(branch.norm.weight, torch.arange(4.0) * (1 / 3 if kind == "acnet" else 1.0))
        assert not branch.norm.bias.any()


class Own(nn.Conv2d):
    """A convolution that may compute something else."""


HOOKED = nn.Conv2d(2, 2, 3)
HOOKED.register_forward_hook(lambda *_: None)
REFUSED = {
    "is a ConvTranspose2d": (nn.ConvTranspose2d(2, 2, 3), "repvgg"),
    "is a Own": (Own(2, 2, 3), "repvgg"),
    "is a LazyConv2d": (nn.LazyConv2d(2, 3), "repvgg"),
    "is a ParametrizedConv2d": (nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3)), "repvgg"),
    "has hooks": (HOOKED, "repvgg"),
    "has a kernel of 3 x 4, without an entry in its centre": (nn.Conv2d(2, 2, (3, 4)), "repvgg"),
    "has a kernel of one point": (nn.Conv2d(2, 2, 1), "repvgg"),
    "has a kernel of 1 x 3, to which acnet": (nn.Conv2d(2, 2, (1, 3)), "acnet"),
    "has a kernel of 3, to which acnet": (nn.Conv1d(2, 2, 3), "acnet"),
    "has weights in complex64": (nn.Conv2d(2, 2, 3, dtype=torch.complex64), "repvgg"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_merged_says_why(words: str) -> None:
    conv, kind = REFUSED[words]
    assert why_not(conv, kind).startswith(words)


def test_the_same_modules_are_made_again_in_a_new_process() -> None:
    def make() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, groups=3, bias=False), nn.BatchNorm2d(6), nn.ReLU())

    plan = BranchPlan(["pointwise"], "1")
    first, second = insert_branches(make(), "0", plan), insert_branches(make(), "0", plan)
    second.load_state_dict(stirred(first).state_dict())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(first(x), second(x))
    merged = place_merged(make(), "0", "1")
    expected = merge_branches(deepcopy(first).eval())
    merged.load_state_dict(expected.state_dict())
    assert torch.equal(merged.eval()(x), expected(x))
    assert sum(param.numel() for param in merged.parameters()) == sum(param.numel() for param in make()[:1].parameters()) + 6


def test_a_convolution_with_branches_tells_what_it_is() -> None:
    model = insert_branches(nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1)), "0", BranchPlan(["pointwise"]))
    branched: Any = model[0]  # type: ignore[index]
    assert (branched.in_channels, branched.out_channels, branched.stride, branched.kernel_size) == (3, 6, (2, 2), (3, 3))
    with pytest.raises(AttributeError):
        _ = branched.nothing


def test_a_branch_of_one_point_with_a_stride_is_right_for_few_channels_in_channels_last() -> None:
    """oneDNN's own gradient overwrites memory there, which ends the process or leaves wrong numbers."""
    torch.manual_seed(0)
    model = insert_branches(nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1)), "0", BranchPlan(["pointwise"], new_norm=True))
    (branched,) = model
    assert branched.pointwise.conv.stride == (1, 1)
    x, grads = torch.randn(64, 3, 32, 32), []
    for layout in (torch.contiguous_format, torch.channels_last):
        model.zero_grad()
        model(x.to(memory_format=layout)).square().mean().backward()
        grads.append(branched.pointwise.conv.weight.grad.clone())
    assert torch.allclose(grads[0], grads[1], rtol=1e-3, atol=1e-6)
