"""A norm is taken for that of a layer only where it sees the layer's output, and nobody else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel.compress.conv_norm_pairs import conv_norm_pairs


class Block(nn.Module):
    """A convolution, its norm, and what `forward` does with them."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3) if norm is None else norm
        self.compute = forward

    def forward(self, x: Tensor) -> Tensor:
        """Return what the function computes."""
        return self.compute(self, x)


def residual(self: Any, x: Tensor) -> Tensor:
    """Return the output of the norm, and of the convolution too."""
    y = self.conv(x)
    return self.norm(y) + y  # type: ignore[no-any-return]


def by_mode(self: Any, x: Tensor) -> Tensor:
    """Return another thing in evaluation."""
    y = self.conv(x)
    return self.norm(y) if self.training else y  # type: ignore[no-any-return]


def straight(self: Any, x: Tensor) -> Tensor:
    """Return the output of the norm."""
    return torch.relu(self.norm(self.conv(x)))


NONE = {
    "the output goes elsewhere too": Block(residual),
    "an activation lies between": Block(lambda self, x: self.norm(torch.relu(self.conv(x)))),
    "evaluation computes another thing": Block(by_mode),
    "the norm is called twice": Block(lambda self, x: self.norm(self.norm(self.conv(x)))),
    "the layer is called twice": Block(lambda self, x: self.norm(self.conv(self.conv(x)))),
    "the weight is read": Block(lambda self, x: self.norm(self.conv(x)) + self.conv.weight.sum()),
    "the norm keeps no statistics": Block(straight, nn.BatchNorm2d(3, track_running_stats=False)),
    "another norm": Block(straight, nn.GroupNorm(1, 3)),
}


@pytest.mark.parametrize("why", NONE)
def test_no_pair(why: str) -> None:
    assert conv_norm_pairs(NONE[why]) == {}


def test_pairs_wherever_they_are() -> None:
    stem = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    assert conv_norm_pairs(stem) == {"0": "1"}
    assert conv_norm_pairs(Block(straight)) == {"conv": "norm"}
    deep = nn.ModuleDict({"a": nn.Sequential(Block(straight), Block(residual)), "b": stem})
    assert conv_norm_pairs(deep) == {"a.0.conv": "a.0.norm", "b.0": "b.1"}, "what cannot be followed is looked into"
    up = nn.Sequential(nn.ConvTranspose2d(3, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    assert conv_norm_pairs(up) == {"0": "1", "3": "4"}


def test_a_model_that_asks_for_numbers_is_followed_block_by_block() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head, self.head_norm = Block(straight), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                x = self.block(x)
            return self.head_norm(self.head(x))  # type: ignore[no-any-return]

    assert conv_norm_pairs(Branching()) == {"block.conv": "block.norm"}


def test_a_shared_module_and_a_hook_make_no_pair() -> None:
    shared = Block(straight)
    assert conv_norm_pairs(nn.Sequential(shared, shared)) == {}
    hooked = Block(straight)
    hooked.norm.register_forward_hook(lambda *_: None)
    assert conv_norm_pairs(hooked) == {}


def test_the_model_and_the_random_numbers_stay_as_they_are() -> None:
    class Remembering(Block):
        def forward(self, x: Tensor) -> Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            self.last = torch.rand(1)
            return super().forward(x)

    model = Remembering(straight).eval()
    before = torch.get_rng_state()
    assert conv_norm_pairs(model) == {"conv": "norm"}
    assert torch.equal(torch.get_rng_state(), before)
    assert not hasattr(model, "calls")
    assert not model.training
