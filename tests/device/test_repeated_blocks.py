"""What counts as a block of a model."""

from __future__ import annotations

from torch import nn

from accel.device.repeated_blocks import repeated_blocks
from accel.tasks.models.gpt import GPT
from accel.tasks.models.resnet import resnet18
from accel.testing.toy_run import Toy


def test_blocks_are_what_repeats() -> None:
    gpt = GPT(16, context=8, width=8, layers=3, heads=2)
    assert [type(block).__name__ for block in repeated_blocks(gpt)] == ["Block"] * 3
    assert [type(block).__name__ for block in repeated_blocks(resnet18(10, 32))] == ["BasicBlock"] * 8
    assert repeated_blocks(Toy().model()) == []
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False)
    assert repeated_blocks(encoder) == list(encoder.layers)
