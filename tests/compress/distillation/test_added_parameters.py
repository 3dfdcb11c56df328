from copy import deepcopy

import pytest
import torch
from torch import nn

from accel.compress.distillation.added_parameters import ADDED, AddedParameters, add_saved
from accel.errors import ConfigError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 1)))


def test_they_are_parameters_and_no_state_whoever_holds_the_model() -> None:
    model = net()
    before = list(model.state_dict())
    added = AddedParameters(model, {"extra": torch.ones(2)})
    outer = nn.ModuleDict({"inner": model})
    for one, name in ((model, "extra"), (deepcopy(model), "extra"), (outer, "inner.extra")):
        assert name in dict(one.named_parameters())
        assert not any("extra" in key for key in one.state_dict())
        one.load_state_dict(one.state_dict())
    assert model(torch.ones(1, 2)).shape == (1, 1)
    added.remove()
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()] == before
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({})


def test_their_state_comes_back_and_no_other() -> None:
    added, other = (AddedParameters(net(), {"extra": torch.full((2,), value)}) for value in (1.0, 2.0))
    added.load(other.state())
    assert torch.equal(added["extra"], torch.full((2,), 2.0))
    for wrong in ({}, {"extra": torch.ones(3)}, {"more": torch.ones(2)}):
        with pytest.raises(ValueError, match="other names or shapes"):
            added.load(wrong)
    twin = net()
    add_saved(twin, [{}, None, {ADDED: other.state()}])
    assert torch.equal(dict(twin.named_parameters())["extra"], torch.full((2,), 2.0))


def test_a_name_that_is_taken() -> None:
    model = net()
    model.extra = 3  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="the model has an attribute extra of its own"):
        AddedParameters(model, {"extra": torch.ones(2)})
