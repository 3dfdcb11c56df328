"""The layers of a model, counted from its input to its output.

The blocks that a model repeats are its layers, in the order in which they are registered. What is registered before the first one
(an embedding, a stem) is layer 0. What is registered behind the last (a norm, a head) is the layer above all blocks. What stands
between two blocks belongs to the next one. Source: BEiT, arXiv 2106.08254, whose code counts the layers of a ViT so.
"""

from __future__ import annotations

from torch import nn

from accel.device.repeated_blocks import repeated_blocks

__all__ = ["layers_of"]


def layers_of(model: nn.Module) -> dict[str, int]:
    """Return the layer of each parameter, from 0, by name in `named_parameters`; empty if the model repeats no block."""
    blocks = {id(block): index for index, block in enumerate(stages_opened(repeated_blocks(model)), 1)}
    if not blocks:
        return {}
    block_of: dict[int, int] = {}
    for module in model.modules():
        if id(module) in blocks:
            block_of |= {id(param): blocks[id(module)] for param in module.parameters() if id(param) not in block_of}
    names = list(model.named_parameters())
    first = next((place for place, (_, param) in enumerate(names) if id(param) in block_of), 0)
    layers, layer = {}, len(blocks) + 1
    for place, (name, param) in reversed(list(enumerate(names))):
        layer = block_of.get(id(param), layer)
        layers[name] = layer if place >= first else 0
    return dict(reversed(layers.items()))


def stages_opened(blocks: list[nn.Module]) -> list[nn.Module]:
    """Return the blocks, with those inside in place of one whose class is called a stage (ConvNeXtStage, SwinTransformerStage)."""
    opened: list[nn.Module] = []
    for block in blocks:
        inner = repeated_blocks(block) if type(block).__name__.endswith("Stage") else []
        opened += stages_opened(inner) or [block]
    return opened
