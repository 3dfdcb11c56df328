"""Segmentation with batches that are dicts: the IoU is that over all pixels of the held-out pictures."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader


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


class Segmenter(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 5, padding=2))

    def training_step(self, batch, index):
        return nn.functional.binary_cross_entropy_with_logits(self.net(batch["image"])[:, 0], batch["mask"])

    def on_validation_epoch_start(self):
        self.overlap, self.union = 0, 0

    def validation_step(self, batch, index):
        chosen, mask = self.net(batch["image"])[:, 0] > 0, batch["mask"] > 0.5
        self.overlap += (chosen & mask).sum()
        self.union += (chosen | mask).sum()

    def on_validation_epoch_end(self):
        self.log("iou", self.overlap / self.union)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.02)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Segmenter(), DataLoader(Circles(256, 0), batch_size=16, shuffle=True), DataLoader(Circles(50, 1), batch_size=16))
print(f"IoU {trainer.callback_metrics['iou']:.3f}")
