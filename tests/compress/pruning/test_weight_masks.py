"""Masks keep the largest weights, exactly so many, once gone always gone; a pattern keeps N of every M inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from accel.compress.pruning.weight_masks import global_masks, layer_mask, maskable_weights, pattern_mask, read_pattern
from accel.compress.pruning.weight_pruner import WeightPruner
from accel.errors import ConfigError
from tests.support.prunable_nets import PrunableNet, spread


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=2, max_size=30), st.floats(0, 0.99))
def test_the_largest_stay_and_exactly_so_many(numbers: list[int], ratio: float) -> None:
    weight = torch.tensor(numbers, dtype=torch.float32)
    mask = layer_mask(weight, ratio)
    gone = min(round(ratio * len(numbers)), len(numbers) - 1)
    assert int((~mask).sum()) == gone, "with ties, too"
    if gone:
        assert weight[mask].abs().min() >= weight[~mask].abs().max()
    again = layer_mask(weight * mask, ratio)
    assert not (again & ~mask & (weight != 0)).any(), "what went stays gone"


def test_globally_layers_are_compared_with_one_another_and_none_is_emptied() -> None:
    weights = {"large": torch.arange(1.0, 9.0).view(2, 4), "small": torch.full((2, 3), 0.1)}
    masks = global_masks(weights, 6 / 14)
    assert masks["large"].all()
    assert masks["small"].sum() == 1
    assert sum(int((~mask).sum()) for mask in global_masks({"one": torch.arange(10.0)}, 0.3).values()) == 3


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3, 3)])
def test_a_pattern_keeps_n_of_every_m_inputs(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape)
    mask = pattern_mask(weight, 2, 4)
    blocks = mask.movedim(1, -1).reshape(-1, 4)
    assert (blocks.sum(1) == 2).all()
    values = weight.abs().movedim(1, -1).reshape(-1, 4)
    kept, gone = values[blocks].view(-1, 2), values[~blocks].view(-1, 2)
    assert (kept.min(1).values >= gone.max(1).values).all()
    half = pattern_mask(weight, 2, 4, 0.5)
    assert int((half.movedim(1, -1).reshape(-1, 4).sum(1) == 2).sum()) == weight.numel() // 8, "of half of the blocks"
    assert ((half | mask) == half).all(), "the same of each"


def test_patterns_are_read() -> None:
    assert read_pattern("1:8") == (1, 8)
    for wrong in ("4:4", "0:4", "2of4", "2:"):
        with pytest.raises(ConfigError, match=r"is no N:M with 0 < N < M"):
            read_pattern(wrong)


def test_a_pruner_masks_weights_gradients_and_what_is_kept_of_them() -> None:
    model = spread(PrunableNet())
    assert set(maskable_weights(model)) == {
        "stem.weight",
        "blocks.0.conv.weight",
        "blocks.1.conv.weight",
        "last.weight",
        "hidden.weight",
        "head.weight",
    }
    pruner = WeightPruner(None, "layer")
    pruner.take_weights(model, {"head"})
    params = dict(model.named_parameters())
    pruned = pruner.prune(model, params, 0.75)
    assert pruner.zeros[0] == sum(round(0.75 * params[name].numel()) for name in pruner.names)
    mask = pruner.masks["stem.weight"]
    assert torch.equal(params["stem.weight"] != 0, mask)
    carried = pruned[0].carry(torch.ones_like(mask, dtype=torch.float32))
    assert torch.equal(carried != 0, mask)
    assert pruned[0].carry(torch.tensor(3.0)) == 3, "a counter stays"
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    pruner.clear_gradients()
    assert params["stem.weight"].grad is not None
    assert not params["stem.weight"].grad[~mask].any()
    assert "head.weight" not in pruner.masks, "it is excluded"
    with torch.no_grad():
        params["stem.weight"].fill_(1.0)
    pruner.hold()
    assert torch.equal(params["stem.weight"] != 0, mask)


def test_a_model_without_such_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no linear layer or convolution to prune"):
        WeightPruner(None, "layer").take_weights(nn.LSTM(3, 4), set())
    with pytest.raises(ConfigError, match="whose inputs come in blocks of 4"):
        WeightPruner((2, 4), "layer").take_weights(nn.Linear(6, 4), set())
