"""Equality: a model that is cut computes what it computes with zeros in the place of what went, and trains so as well."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accel.compress.pruning.channel_groups import ChannelGroup, after_cut, kept_by_units
from accel.compress.pruning.channel_tracing import trace_channels
from accel.compress.pruning.kept_channels import as_plain, composed, counts_of, from_plain, still_to_cut
from accel.compress.pruning.model_cut import ModelCut
from accel.device.torch_startup import avoid_dynamo_import
from tests.support.prunable_nets import BLOCKS, PrunableNet, spread

pytest.importorskip("torch_pruning")

NETS = st.builds(
    PrunableNet, st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3).map(tuple), norm=st.booleans(), flat=st.booleans()
)


def groups_of_net(model: nn.Module) -> list[ChannelGroup]:
    return trace_channels(deepcopy(model), lambda one: [one(pictures())])


def pictures(dtype: torch.dtype = torch.float32, seed: int = 5) -> Tensor:
    return torch.randn(4, 3, 4, 4, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def drawn_units(groups: list[ChannelGroup], data: Any) -> list[list[int]]:
    kept = []
    for group in groups:
        units = list(range(len(group.units)))
        some = st.just(units) if group.whole else st.lists(st.sampled_from(units), min_size=1, unique=True).map(sorted)
        kept.append(data.draw(some))
    return kept


@settings(max_examples=12, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
@given(NETS, st.data())
def test_a_cut_model_equals_its_masked_original(model: PrunableNet, data: st.DataObject) -> None:
    spread(model)
    groups = groups_of_net(model)
    assert any(not group.whole for group in groups)
    kept = kept_by_units(model, groups, drawn_units(groups, data))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        masked, cut = deepcopy(model).to(dtype), deepcopy(model).to(dtype)
        ModelCut(masked, kept).zero(masked)
        ModelCut(cut, kept).apply(cut)
        for training in (False, True):
            expected, actual = masked.train(training)(pictures(dtype)), cut.train(training)(pictures(dtype))
            assert (expected - actual).abs().max() <= tolerance * max(1, expected.abs().max()), training


@settings(max_examples=6, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
@given(NETS, st.data())
def test_two_cuts_are_one_and_can_be_replayed_on_a_new_model(model: PrunableNet, data: st.DataObject) -> None:
    spread(model)
    groups, counts, new = groups_of_net(model), counts_of(model), deepcopy(model)
    kept_in_all: Any = {}
    for _ in range(2):
        units = drawn_units(groups, data)
        kept = kept_by_units(model, groups, units)
        ModelCut(model, kept).apply(model)
        groups, kept_in_all = after_cut(groups, kept, units), composed(kept_in_all, kept)
    traced = groups_of_net(model)
    assert [(group.name, group.units) for group in traced] == [(group.name, group.units) for group in groups]
    replayed, original = from_plain(as_plain(kept_in_all, counts))
    if kept_in_all:
        assert still_to_cut(new, replayed, original)
        ModelCut(new, replayed).apply(new)
        assert not still_to_cut(new, replayed, original)
    assert new.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in new.state_dict().items())


OPTIMISERS = {
    "sgd": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adamw": lambda params: torch.optim.AdamW(params, lr=0.01),
    "adafactor": lambda params: torch.optim.Adafactor(params, lr=0.01),
}


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_training_after_the_cut_equals_training_with_masked_gradients(optimiser: str) -> None:
    model = spread(PrunableNet(("residual", "grouped", "depthwise", "concat"))).double()
    groups = trace_channels(deepcopy(model), lambda one: [one(pictures(torch.float64))])
    kept = kept_by_units(model, groups, [list(range(len(group.units) // (1 if group.whole else 2))) for group in groups])
    moved = OPTIMISERS[optimiser](model.parameters())
    train(model, moved, 3)
    masked, cut_model = model, deepcopy(model)
    cut = ModelCut(model, kept)
    after = OPTIMISERS[optimiser](cut_model.parameters())
    after.load_state_dict(deepcopy(moved.state_dict()))  # it would share their memory
    cut_state(cut, cut_model, after)
    cut.zero(masked)
    for name, param in masked.named_parameters():
        for value in moved.state[param].values():
            if value.dim():
                cut.mask(name, value)
    train(masked, moved, 5, cut)
    train(cut_model, after, 5)
    for name, param in cut_model.named_parameters():
        left = cut(name, masked.get_parameter(name).detach())
        assert left is not None
        assert torch.allclose(left, param, rtol=1e-9, atol=1e-10), name


avoid_dynamo_import()  # which takes seconds


def train(model: nn.Module, optimiser: torch.optim.Optimizer, updates: int, cut: ModelCut | None = None) -> None:
    model.train()
    for update in range(updates):
        optimiser.zero_grad()
        model(pictures(torch.float64, update)).square().mean().backward()
        for name, param in model.named_parameters():
            if cut is not None and param.grad is not None:
                cut.mask(name, param.grad)
        optimiser.step()


def cut_state(cut: ModelCut, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Cut a model, and move the state of its optimiser to the parameters that it has then."""
    pairs = cut.apply(model)
    new = {id(old): param for old, param in pairs.values()}
    for group in optimiser.param_groups:
        group["params"] = [new.get(id(param), param) for param in group["params"]]
    for name, (old, param) in pairs.items():
        optimiser.state[param] = {key: cut(name, value) for key, value in optimiser.state.pop(old).items()}


def test_a_state_tensor_is_cut_like_its_parameter() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 4))
    cut = ModelCut(model, {"0": {"out": [1, 5]}, "2": {"in": [1, 5]}})
    moment = torch.arange(8.0 * 27).view(8, 3, 3, 3).contiguous(memory_format=torch.channels_last)
    left = cut("0.weight", moment)
    assert left is not None
    assert torch.equal(left, moment[[1, 5]])
    assert left.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(cut("2.weight", torch.arange(4.0).view(4, 1)), torch.arange(4.0).view(4, 1)), "one number of each output"
    assert torch.equal(cut("2.weight", torch.arange(8.0).view(1, 8)), torch.tensor([[1.0, 5.0]])), "one number of each input"
    step = torch.tensor(3.0)
    assert cut("0.weight", step) is step
    assert cut("0.weight", torch.zeros(7)) is None, "whatever that is, it is not like the parameter"
    assert cut("2.bias", moment) is moment, "nothing of it goes"


def test_groups_are_those_of_the_layers() -> None:
    groups = {group.name: group for group in groups_of_net(PrunableNet(("residual", "depthwise", "grouped")))}
    assert list(groups) == ["stem", "blocks.1.point", "blocks.2.conv", "last", "hidden", "head"]
    stem = {path for path, _ in groups["stem"].members}
    assert stem == {"stem", "blocks.0.conv", "blocks.0.norm", "blocks.1.conv", "blocks.1.norm", "blocks.1.point"}, "through the sum"
    assert len(groups["blocks.2.conv"].units) == 4, "of each group of the convolution one channel goes"
    assert groups["blocks.2.conv"].channels_per_unit == 2
    assert groups["head"].whole == "the model gives it out"
    assert [group.whole for name, group in groups.items() if name != "head"] == [""] * 5
