"""Small convnets with what channels are followed through: residuals, concatenations, groups, gates, flattened heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 8
BLOCKS = ("conv", "residual", "grouped", "depthwise", "concat", "dense", "gate", "prelu", "groupnorm", "transposed", "shortcut")


class Block(nn.Module):
    """One block from `width` channels to `width`, or more."""

    def __init__(self, kind: str, width: int, norm: bool) -> None:
        super().__init__()
        self.kind, self.out = kind, width
        bias = not norm or kind == "groupnorm"  # before BatchNorm its gradient is rounding alone, which Adam makes large
        if kind == "grouped":
            self.conv = nn.Conv2d(width, width, 3, padding=1, groups=2, bias=bias)
        elif kind == "depthwise":
            self.conv, self.point = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=bias), nn.Conv2d(width, width, 1)
        elif kind == "transposed":
            self.conv = nn.ConvTranspose2d(width, width, 3, padding=1, bias=bias)
        elif kind == "shortcut":
            self.conv, self.point, self.out = nn.Conv2d(width, WIDTH, 3, padding=1, bias=bias), nn.Conv2d(width, WIDTH, 1), WIDTH
        else:
            self.conv = nn.Conv2d(width, width, 3, padding=1, bias=bias)
        if kind == "concat":
            self.point, self.out = nn.Conv2d(width, WIDTH, 1), width + WIDTH
        elif kind == "dense":
            self.out = 2 * width
        elif kind == "gate":
            self.squeeze, self.excite = nn.Linear(width, WIDTH), nn.Linear(WIDTH, width)
        elif kind == "prelu":
            self.act = nn.PReLU(width)
        self.norm: nn.Module = (
            nn.GroupNorm(4, width) if kind == "groupnorm" else nn.BatchNorm2d(self.conv.out_channels) if norm else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        if self.kind == "residual":
            return (y + x).relu()
        if self.kind == "depthwise":
            return self.point(y.relu()).sigmoid()
        if self.kind == "concat":
            return torch.cat([y.relu(), self.point(x)], 1)
        if self.kind == "dense":
            return torch.cat([x, y.relu()], 1)
        if self.kind == "gate":
            gate = self.excite(self.squeeze(y.mean((2, 3))).relu()).sigmoid()
            return y * gate[:, :, None, None]
        if self.kind == "shortcut":
            return (y + self.point(x)).relu()
        return self.act(y) if self.kind == "prelu" else y.relu()


class PrunableNet(nn.Module):
    """Blocks of the kinds named, on pictures of 4 x 4 with 3 channels, and a head over 3 classes."""

    def __init__(
        self, kinds: tuple[str, ...] = ("residual", "conv"), norm: bool = True, flat: bool = False, width: int = WIDTH
    ) -> None:
        super().__init__()
        self.stem, self.flat = nn.Conv2d(3, width, 3, padding=1), flat
        blocks = []
        for kind in kinds:
            blocks.append(Block(kind, width, norm))
            width = blocks[-1].out
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(width, WIDTH, 1)  # Torch-Pruning follows no concatenation that is flattened at once
        self.hidden, self.head = nn.Linear(WIDTH * (16 if flat else 1), WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.last(x).relu()
        x = x.flatten(1) if self.flat else x.mean((2, 3))
        return self.head(self.hidden(x).relu())


class FlatConcat(nn.Module):
    """A model that flattens a concatenation at once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(3, 16, 1), nn.Linear(512, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.first(x).relu(), self.second(x).relu()], 1).flatten(1))


class FixedView(nn.Module):
    """A model that writes down a size that a cut changes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), nn.Linear(256, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x).relu()).view(-1, 256))


def spread(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give a model weights and statistics none of which are 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(torch.randn(param.shape, generator=generator, dtype=param.dtype), alpha=0.2)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=buffer.dtype) + 0.5 * name.endswith("var"))
    return model
