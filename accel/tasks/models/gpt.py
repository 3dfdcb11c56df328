"""GPT: a small transformer that predicts the next token."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GPT", "Block"]


class GPT(nn.Module):
    """Transformer from tokens, (batch, time) int64, to logits, (batch, time, vocabulary), each from the tokens up to its own.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners, 2019: layer norm before each half of a block,
    learned positions, the embedding shared with the output, residual branches initialised smaller the deeper the network.

    With `mup_base_width` it is in the maximal update parametrisation: the best learning rate of Adam is nearly that of the base width at
    every width (with the same number of heads). At the base width it is the same model. Source: Yang et al., Tensor Programs V,
    arXiv 2203.03466, table 8, whose output may share the embedding: output times base / width, hidden matrices of variance base /
    width and with rates times base / width (`width_multipliers`), attention divided by the size of a head and not by its root.

    Args:
        vocabulary: Number of different tokens.
        context: Length of the longest input, in tokens.
        layers: Number of blocks.
        heads: Attention heads per block.
        width: Channels.
        dropout: Share of the embedding and of each branch's output set to zero in training.
        mup_base_width: Width whose learning rates hold at this one; None for a model without muP.
    """

    def __init__(
        self, vocabulary: int, context: int, layers: int, heads: int, width: int, dropout: float = 0.0,
        mup_base_width: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scaled = mup_base_width is not None
        self.multiplier = width / (mup_base_width or width)
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(context, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(heads, width, dropout, self.multiplier) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=0.02 / sqrt(self.multiplier if isinstance(module, nn.Linear) else 1))
        nn.init.normal_(self.positions, std=0.02)
        for block in self.blocks.children():
            assert isinstance(block, Block)
            for out in (block.out, block.down):
                nn.init.normal_(out.weight, std=0.02 / sqrt(2 * layers) / sqrt(self.multiplier))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        x = self.norm(self.blocks(x))
        return F.linear(x if self.multiplier == 1 else x / self.multiplier, self.tokens.weight)

    def width_multipliers(self) -> dict[str, float]:
        """Return width over base width of each hidden matrix, by its name; empty without muP."""
        names = [name for name, param in self.named_parameters() if name.startswith("blocks.") and param.dim() == 2]
        return dict.fromkeys(names, self.multiplier) if self.scaled else {}


class Block(nn.Module):
    """Transformer block: attention over the past, then a two-layer network, each added to its input; (batch, time, width)."""

    def __init__(self, heads: int, width: int, dropout: float, multiplier: float = 1.0) -> None:
        super().__init__()
        self.heads, size = heads, width // heads
        self.scale = None if multiplier == 1 else sqrt(size / multiplier) / size  # of a base head 1 / sqrt(size), as None is
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.out(self.attend(self.norm1(x))))
        y: Tensor = x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)))))
        return y

    def attend(self, x: Tensor) -> Tensor:
        """Return causal self-attention of (batch, time, width) over its heads, in the same shape."""
        batch, time, width = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale)
        return y.transpose(1, 2).reshape(batch, time, width)
