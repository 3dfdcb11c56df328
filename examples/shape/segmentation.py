"""Segmentation with batches that are dicts: the IoU is that over all pixels of the held-out pictures, by (sum, count) pairs."""

import torch
from torch import nn

from accel import Trainer
from accel.plugins import AdamW


class Circles(torch.utils.data.Dataset):
    """Bright circles in noise: samples are dicts of an image, (1, 24, 24), and a mask, (24, 24)."""

    def __init__(self, count, seed):
        draw = torch.Generator().manual_seed(seed)
        self.centres = torch.randint(6, 18, (count, 2), generator=draw)
        self.noise = torch.randn(count, 24, 24, generator=draw)

    def __len__(self):
        return len(self.centres)

    def __getitem__(self, index):
        rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
        y, x = self.centres[index]
        mask = ((rows - y) ** 2 + (columns - x) ** 2 < 25).float()
        return {"image": (mask + 0.5 * self.noise[index])[None], "mask": mask}


def loss(model, batch):
    return nn.functional.binary_cross_entropy_with_logits(model(batch["image"])[:, 0], batch["mask"])


def metrics(model, batch):
    chosen, mask = model(batch["image"])[:, 0] > 0, batch["mask"] > 0.5
    return {"iou": ((chosen & mask).sum(), (chosen | mask).sum())}


model = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 5, padding=2))
settings = {"plugins": [AdamW(lr=0.02)], "epochs": 3, "batch_size": 16, "device": "cpu", "watch": ()}
result = Trainer(model, Circles(256, 0), Circles(50, 1), loss, metrics, **settings).fit()
print(f"IoU {result.metrics['iou']:.3f}")
