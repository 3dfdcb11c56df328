"""In muP the updates of a GPT do not grow with its width, and its hidden matrices have rates of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from accel import Trainer
from accel.errors import ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.cosine import Cosine
from accel.plugins.optimizer import Optimizer
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.tasks.models.gpt import GPT

BASE, WIDTHS = 32, (32, 128, 256)
TOKENS = torch.randint(64, (8, 17), generator=torch.Generator().manual_seed(0))


def loss(model: nn.Module, tokens: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def gpt(width: int, base: int | None, layers: int = 2) -> GPT:
    torch.manual_seed(1)
    return GPT(64, 16, layers, 2, width, mup_base_width=base)


def trained(model: nn.Module, *plugins: Any, updates: int = 4) -> Any:
    return Trainer(
        model, DataLoader([TOKENS] * updates, batch_size=None), loss=loss, plugins=list(plugins), watch=(), device="cpu"
    ).fit()


def activations(model: GPT) -> dict[str, Tensor]:
    """Return what the attention's and the MLP's matrices, the blocks and the model give, by name."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: seen.__setitem__(name, out.detach()))
        for name, module in model.named_modules()
        if name in ("blocks.0.qkv", "blocks.1.up", "blocks.1", "")
    ]
    model.eval()(TOKENS[:, :-1])
    for hook in hooks:
        hook.remove()
    return seen


def growth(base: int | None) -> dict[str, float]:
    """Return how much more the activations of the widest model move in a few updates than those of the narrowest."""
    moved: dict[str, list[float]] = {}
    for width in WIDTHS:
        model = gpt(width, base)
        before = activations(model)
        trained(model, AdamW(lr=4e-3, weight_decay=0.0))
        for name, after in activations(model).items():
            moved.setdefault(name, []).append(float((after - before[name]).square().mean().sqrt()))
    return {name: sizes[-1] / sizes[0] for name, sizes in moved.items()}


@pytest.mark.slow
def test_updates_of_the_activations_do_not_grow_with_the_width() -> None:
    """The coordinate check of Tensor Programs V, appendix D.1."""
    scaled, plain = growth(BASE), growth(None)
    assert all(0.5 < factor < 1.6 for factor in scaled.values()), scaled
    assert max(plain.values()) > 2.5, plain
    assert all(plain[name] > 1.5 * factor for name, factor in scaled.items()), (plain, scaled)


def test_at_the_base_width_it_is_the_same_model() -> None:
    plain, scaled = (trained(gpt(32, base), AdamW(), updates=3).model for base in (None, 32))
    assert all(map(torch.equal, plain.parameters(), scaled.parameters()))


def test_hidden_matrices_have_rates_and_decay_of_their_own() -> None:
    plugin = AdamW(lr=0.016, weight_decay=0.5, groups=[{"match": "blocks.0.up.*", "lr": 0.1, "weight_decay": 0.25}])
    trained(gpt(64, 16), plugin, Cosine(floor=0.5, warmup=0.0), updates=2)
    groups = {plugin.names[id(param)]: group for group in plugin.optimizer.param_groups for param in group["params"]}
    last = {name: (group["lr"], group["weight_decay"]) for name, group in groups.items()}
    assert last["tokens.weight"] == last["positions"] == last["blocks.0.norm1.weight"] == (0.008, 0.5)
    assert last["blocks.0.qkv.weight"] == last["blocks.1.down.weight"] == (0.002, 2.0), "a quarter of the rate, 4 times the decay"
    assert last["blocks.0.up.weight"] == (0.05, 0.25), "what is written counts"
    assert "muP" in plugin.plan_notes()


def test_it_is_for_adam() -> None:
    for plugin in (AdamW(), ScheduleFree(), Optimizer("torch.optim.NAdam")):
        trained(gpt(32, 16, layers=1), plugin, updates=1)
    for plugin in (SGD(), ScheduleFree(base="sgd"), Optimizer("torch.optim.Rprop")):
        with pytest.raises(ConfigError, match=f"{plugin.name}: the model is scaled by its width \\(muP\\).*take adamw"):
            trained(gpt(32, 16, layers=1), plugin, updates=1)


def test_a_model_of_the_users_own_says_its_widths() -> None:
    class Wide(nn.Module):
        def __init__(self, names: Any) -> None:
            super().__init__()
            self.gpt, self.names = nn.Linear(4, 4), names

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.gpt(F.one_hot(x, 64).float()[..., :4]), torch.ones(64, 4))

        def width_multipliers(self) -> dict[str, float]:
            return self.names

    plugin = AdamW(lr=0.01)
    trained(nn.Sequential(Wide({"gpt.weight": 4})), plugin, updates=1)
    assert [group["lr"] for group in plugin.optimizer.param_groups] == [0.0025, 0.01]
    for names, sentence in (
        ({"gpt.wieght": 4.0}, r"width_multipliers\(\) of Wide names 'gpt.wieght', which is no parameter of it"),
        (["gpt.weight"], r"width_multipliers\(\) of Wide returned a list; return a dict of numbers by name"),
        ({"gpt.weight": 0.0}, r"width_multipliers\(\)\['gpt.weight'\] must be a number above 0, not 0.0"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            trained(nn.Sequential(Wide(names)), AdamW(), updates=1)
    Wide.width_multipliers = {"gpt.weight": 4.0}  # type: ignore[assignment,method-assign]
    with pytest.raises(ConfigError, match=r"width_multipliers\(\) of Wide is a dict, and no method; return a dict"):
        trained(nn.Sequential(Wide({})), AdamW(), updates=1)
