"""The first and the last layer are those of the forward pass, and layers behind a ReLU are known."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from accel.compress.low_bits.choose_layers import LAYERS, choose_layers
from accel.compress.low_bits.layer_order import layers_in_order
from accel.compress.low_bits.scheme import Scheme
from accel.errors import ConfigError


class Backwards(nn.Module):
    """Layers that are defined in another order than they are used."""

    def __init__(self, follows: bool) -> None:
        super().__init__()
        self.head, self.middle, self.stem = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(3, 4)
        self.follows = follows

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        if not self.follows and x.sum() > 0:
            x = -x
        return self.head(self.middle(x).relu() + x.relu())  # type: ignore[no-any-return]


def test_layers_come_in_the_order_of_use() -> None:
    used = layers_in_order(Backwards(follows=True), LAYERS)
    assert [layer.name for layer in used] == ["stem", "middle", "head"]
    assert [layer.has_sign for layer in used] == [True, True, False], "a sum of two ReLUs is never below 0"
    assert [layer.name for layer in layers_in_order(Backwards(follows=False), LAYERS)] == ["head", "middle", "stem"]


def test_the_ends_stay_in_floats() -> None:
    model = Backwards(follows=True)
    chosen = choose_layers(model, Scheme("twn"), layers_in_order(model, LAYERS), None, None)
    assert chosen.layers == ["middle"]
    assert chosen.left == {"stem": "is the first", "head": "is the last"}


def test_what_cannot_have_few_bits_stays_or_is_refused_if_it_is_named() -> None:
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.ConvTranspose2d(3, 3, 2), nn.Linear(3, 3))
    tied[1].weight = tied[0].weight
    used = layers_in_order(tied, LAYERS)
    chosen = choose_layers(tied, Scheme("twn"), used, None, [])
    assert chosen.layers == ["3"]
    assert chosen.left["1"] == "has weights that other layers have too"
    assert "ConvTranspose2d" in chosen.left["2"]
    for name in ("1", "2"):
        with pytest.raises(ConfigError, match=f"^{name} "):
            choose_layers(tied, Scheme("twn"), used, [name], [])


def test_signs_of_what_a_relu_gives_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
    used = layers_in_order(model, LAYERS)
    assert [layer.has_sign for layer in used] == [True, False, True]
    with pytest.raises(ConfigError, match="3 has an input that comes from a ReLU and is never below 0, and bnn sees nothing but"):
        choose_layers(model, Scheme("bnn"), used, None, [])
    assert choose_layers(model, Scheme("bwn"), used, None, []).layers == ["0", "3", "5"]
    assert choose_layers(model, Scheme("bwn"), used, None, []).norms == {"3": "4"}
