"""Layers are counted from the input to the output, in models of every usual make."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from accel import Trainer
from accel.errors import ConfigError
from accel.parts import Optim
from accel.parts.shared.groups.layer_depth import layers_of
from accel.plugins.adamw import AdamW
from accel.schema import plugin_registry
from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import BasicBlock, ResNet

OPTIMISERS = sorted(name for name in plugin_registry.names() if issubclass(plugin_registry.load(name), Optim))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(4), nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.mlp(self.norm(x))
        return y


class ViT(nn.Module):
    """Named and registered as timm's VisionTransformer is."""

    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 4))
        self.patch_embed = nn.Linear(4, 4)
        self.blocks = nn.Sequential(*(Block() for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.norm(self.blocks(self.patch_embed(x))))
        return y


def beit_layer(name: str, blocks: int) -> int:
    """Return the layer of a parameter of a ViT as the code of BEiT does (get_num_layer_for_vit)."""
    if name in ("cls_token", "mask_token", "pos_embed") or name.startswith("patch_embed"):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks") else blocks + 1


def test_a_vit_is_counted_as_beit_counts_it() -> None:
    assert layers_of(ViT()) == {name: beit_layer(name, 3) for name, _ in ViT().named_parameters()}


def test_the_own_gpt() -> None:
    layers = layers_of(GPT(vocabulary=8, context=4, layers=2, heads=1, width=4))
    assert {layers["tokens.weight"], layers["positions"]} == {0}
    assert [layers["blocks.0.qkv.weight"], layers["blocks.1.down.weight"], layers["norm.weight"]] == [1, 2, 3]


def test_a_resnet_is_counted_block_by_block() -> None:
    layers = layers_of(ResNet(BasicBlock, (2, 2, 2, 2), num_classes=10, side=32, width=4))
    names = list(layers)
    assert layers[names[0]] == 0
    assert max(layers.values()) == 9, "eight blocks, and the head"
    assert list(layers.values()) == sorted(layers.values())


class ConvStage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.downsample = nn.Linear(4, 4)
        self.blocks = nn.Sequential(Block(), Block())


def test_stages_are_opened_and_what_stands_between_is_of_the_next_block() -> None:
    model = nn.Sequential(nn.Linear(4, 4), ConvStage(), ConvStage(), nn.Linear(4, 4))
    layers = layers_of(model)
    assert layers["0.weight"] == layers["1.downsample.weight"] == 0
    assert [layers[f"{stage}.blocks.{block}.norm.weight"] for stage in (1, 2) for block in (0, 1)] == [1, 2, 3, 4]
    assert layers["2.downsample.weight"] == 3
    assert layers["3.weight"] == 5


def test_blocks_of_torch_and_models_without_any() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 1, 4), 2, enable_nested_tensor=False)
    assert set(layers_of(encoder).values()) == {1, 2}
    assert layers_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == {}


def fit(plugin: Any, model: nn.Module) -> Optim:
    Trainer(model, [torch.randn(2, 4)], loss=lambda m, x: m(x).square().mean(), plugins=[plugin], watch=()).fit()
    optim: Optim = plugin
    return optim


@pytest.mark.parametrize("name", OPTIMISERS)
def test_rates_fall_by_depth_for_every_optimiser(name: str) -> None:
    plain, decayed = (fit(plugin_registry.load(name)(**settings), ViT()) for settings in ({}, {"layer_decay": 0.5}))
    before, after = (
        {optim.names[id(param)]: group["lr"] for group in optim.optimizer.param_groups for param in group["params"]}
        for optim in (plain, decayed)
    )
    assert after == {name: pytest.approx(rate * 0.5 ** (4 - beit_layer(name, 3))) for name, rate in before.items()}


def test_a_value_is_what_it_says_and_a_factor_multiplies() -> None:
    rules = [{"match": "head.*", "lr": 0.3}, {"match": "blocks.0.*", "lr": 0.2}, {"match": "blocks.1.*", "lr_scale": 10}]
    optim = fit(AdamW(lr=0.01, layer_decay=0.5, groups=rules), ViT())
    rates = {optim.names[id(param)]: group["lr"] for group in optim.optimizer.param_groups for param in group["params"]}
    assert [rates[name] for name in ("head.bias", "blocks.0.norm.weight", "blocks.1.norm.weight", "norm.weight")] == [
        0.3, 0.2, pytest.approx(0.1 * 0.25), 0.01
    ]  # fmt: skip
    assert optim.plan_notes()["layer decay"] == (
        "3 blocks; learning rates from 0.0625 times below the first block, x 0.5 for each layer, to 1 times above the last"
    )


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"adamw.layer_decay needs a model that repeats a block"):
        fit(AdamW(layer_decay=0.5), nn.Linear(4, 1))


@pytest.mark.parametrize("value", [0.0, 1.5, -1.0, "x"])
def test_its_kind(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"adamw.layer_decay must be a number above 0, to 1"):
        AdamW(layer_decay=value)
