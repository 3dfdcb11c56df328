"""Branches beside the convolutions of a model: which can have them, and what they begin with."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from accel.compress.branched_conv import Branch, BranchedConv
from accel.compress.convolutions import BATCH_NORMS, CONVOLUTIONS, has_hooks, replace_module

__all__ = ["IDENTITY", "KERNELS", "BranchPlan", "Start", "branch_names", "insert_branches", "start_branches", "why_not"]

Start = Literal["paper", "same"]
IDENTITY = "identity"
KERNELS: dict[str, tuple[bool, ...]] = {"pointwise": (False, False), "horizontal": (False, True), "vertical": (True, False)}
"""Branches with a convolution, and in which of the two dimensions of a picture, rows and columns, it has the whole kernel."""


def why_not(conv: nn.Module, kind: str) -> str:
    """Return why a module can have no branches of a kind, to follow its name in a sentence; empty if it can.

    Args:
        conv: the module.
        kind: `repvgg` or `acnet`.
    """
    if type(conv) not in CONVOLUTIONS:
        classes = " or ".join(one.__name__ for one in CONVOLUTIONS)
        return f"is a {type(conv).__name__}, and only a {classes} as torch has it can be merged"
    assert isinstance(conv, _ConvNd)
    if has_hooks(conv):
        return "has hooks, which a merged convolution would lose"
    if not conv.weight.is_floating_point():
        return f"has weights in {str(conv.weight.dtype).removeprefix('torch.')}"
    if any(size % 2 == 0 for size in conv.kernel_size):
        return f"has a kernel of {' x '.join(map(str, conv.kernel_size))}, without an entry in its centre, where branches are added"
    long = [size > 1 for size in conv.kernel_size]
    if kind == "acnet" and (len(long) != 2 or not all(long)):
        return f"has a kernel of {' x '.join(map(str, conv.kernel_size))}, to which acnet has no row and no column to add"
    return "" if any(long) else "has a kernel of one point, to which there is nothing to add"


def branch_names(conv: Any, kind: str) -> list[str]:
    """Return the names of the branches that a convolution gets: of a kind that `why_not` has nothing against."""
    if kind == "acnet":
        return ["horizontal", "vertical"]
    same = conv.in_channels == conv.out_channels and all(step == 1 for step in conv.stride)
    return ["pointwise", IDENTITY] if same else ["pointwise"]


class BranchPlan(NamedTuple):
    """Which branches a convolution has, and where the norm beside its own kernel comes from."""

    branches: list[str]
    """Names of the branches."""
    norm: str | None = None
    """Name of the norm that followed the convolution, and belongs to it now; None if there is none."""
    new_norm: bool = False
    """Whether it has a new one in its place."""


def insert_branches(model: nn.Module, name: str, plan: BranchPlan) -> nn.Module:
    """Return a model in which a convolution has branches, each with a norm. Weights of new modules are those that torch gives them.

    Args:
        model: the model, which is changed in place.
        name: the name of the convolution.
        plan: its branches.
    """
    conv: Any = model.get_submodule(name)
    own: Any = None if plan.norm is None else model.get_submodule(plan.norm)
    if plan.new_norm:
        own = new_norm(conv, None)
    made = {}
    for branch in plan.branches:
        margin, inner = margins(conv, branch), None if branch == IDENTITY else new_conv(conv, branch)
        steps: tuple[int, ...] = ()
        if inner is not None and max(inner.kernel_size) == 1 < max(inner.stride):
            steps, inner.stride = tuple(inner.stride), (1,) * len(inner.stride)
        elif inner is not None and conv.padding_mode == "zeros" and min(margin) >= 0:
            inner.padding, margin = tuple(margin), []  # what is added is zeros, which the convolution adds itself
            inner._reversed_padding_repeated_twice = [entries for side in reversed(inner.padding) for entries in (side, side)]
        made[branch] = Branch(inner, new_norm(conv, own), margin, steps)
    branched = BranchedConv(conv, own, made)
    branched.train(conv.training)
    if plan.norm is not None:
        model = replace_module(model, plan.norm, nn.Identity())
    return replace_module(model, name, branched)


def margins(conv: Any, branch: str) -> list[int]:
    """Return how far the input of a branch reaches beyond that of the model, in each dimension; below 0 it is the shorter one.

    Where the padding of the convolution is not of zeros, the branches see the input as it is padded.
    """
    padding = conv._reversed_padding_repeated_twice[::-2] if conv.padding_mode == "zeros" else [0] * len(conv.kernel_size)
    whole = whole_dimensions(conv, branch)
    return [
        entries if is_whole else entries - step * (size // 2)
        for entries, is_whole, step, size in zip(padding, whole, conv.dilation, conv.kernel_size, strict=True)
    ]


def whole_dimensions(conv: Any, branch: str) -> tuple[bool, ...]:
    """Return in which dimensions the kernel of a branch is as long as that of the convolution, and not of one entry."""
    return KERNELS[branch] if branch in ("horizontal", "vertical") else (False,) * len(conv.kernel_size)


def new_conv(conv: Any, branch: str) -> Any:
    """Return the convolution of a branch, with weights as torch makes them, on the device of the other."""
    whole = whole_dimensions(conv, branch)
    sizes = tuple(size if is_whole else 1 for size, is_whole in zip(conv.kernel_size, whole, strict=True))
    dilation = tuple(step if is_whole else 1 for step, is_whole in zip(conv.dilation, whole, strict=True))
    made = type(conv)(conv.in_channels, conv.out_channels, sizes, conv.stride, 0, dilation, conv.groups, bias=False)
    made.weight.requires_grad_(conv.weight.requires_grad)
    return made.to(conv.weight.device, conv.weight.dtype)


def new_norm(conv: Any, like: _BatchNorm | None) -> Any:
    """Return a BatchNorm for the output of a convolution, with the settings of another, if there is one, on its device."""
    kind = BATCH_NORMS[len(conv.kernel_size)] if like is None else type(like)
    made: Any = kind(conv.out_channels) if like is None else kind(conv.out_channels, like.eps, like.momentum)
    for param in made.parameters():
        param.requires_grad_(conv.weight.requires_grad)
    return made.to(conv.weight.device, conv.weight.dtype)


def start_branches(branched: BranchedConv, start: Start, kind: str) -> None:
    """Give the norms of new branches the scales with which training begins.

    `same`: 0, so that the convolution computes what it did, as with the last norm of a residual block in Goyal et al., arXiv
    1706.02677.
    `paper`: the scale of the convolution's own norm, 1 where it is new (RepVGG); for acnet a third of it, in all three, as the
    authors advise, since three outputs of scale 1 are added.
    """
    main, *others = [branch for branch in branched.children() if isinstance(branch, Branch)]
    with torch.no_grad():
        own = None if main.norm is None else main.norm.weight
        share = 1 / 3 if kind == "acnet" and start == "paper" else 1.0
        for branch in others:
            assert branch.norm is not None
            if start == "same":
                branch.norm.weight.zero_()
            elif own is not None:
                branch.norm.weight.copy_(own * share)
            else:
                branch.norm.weight.fill_(share)
        if own is not None and share != 1.0:
            own.mul_(share)
