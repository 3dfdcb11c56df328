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

    Args:
        vocabulary: Number of different tokens.
        context: Length of the longest input, in tokens.
        layers: Number of blocks.
        heads: Attention heads per block.
        width: Channels.
        dropout: Share of the embedding and of each branch's output set to zero in training.
    """

    def __init__(self, vocabulary: int, context: int, layers: int, heads: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(context, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(heads, width, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.normal_(self.positions, std=0.02)
        for block in self.blocks.children():
            assert isinstance(block, Block)
            for out in (block.out, block.down):
                nn.init.normal_(out.weight, std=0.02 / sqrt(2 * layers))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)


class Block(nn.Module):
    """Transformer block: attention over the past, then a two-layer network, each added to its input; (batch, time, width)."""

    def __init__(self, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
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
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(batch, time, width)
