"""Detection with a ragged number of boxes: `collate_fn` keeps lists, and a hook at the end sees all of the evaluation."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader


class Scenes(torch.utils.data.Dataset):
    """Pairs of a picture, (1, 24, 24), and its 1 to 3 boxes, (n, 4), as x0, y0, x1, y1."""

    def __init__(self, count, seed):
        draw = torch.Generator().manual_seed(seed)
        self.cells = [torch.randperm(9, generator=draw)[: 1 + int(torch.randint(3, (), generator=draw))] for _ in range(count)]

    def __len__(self):
        return len(self.cells)

    def __getitem__(self, index):
        x, y = self.cells[index] % 3 * 8, self.cells[index] // 3 * 8
        boxes, picture = torch.stack([x, y, x + 6, y + 6], 1), torch.zeros(1, 24, 24)
        for x0, y0, x1, y1 in boxes.tolist():
            picture[0, y0:y1, x0:x1] = 1
        return picture, boxes


def collate(samples):
    return torch.stack([picture for picture, _ in samples]), [boxes for _, boxes in samples]


class Detector(L.LightningModule):
    """Finds in which of 3 x 3 cells there is a box."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 8, 8, stride=8), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Flatten())

    def cells(self, boxes):
        return torch.stack([torch.zeros(9).index_fill(0, (each[:, 1] * 3 + each[:, 0]) // 8, 1.0) for each in boxes])

    def training_step(self, batch, index):
        return nn.functional.binary_cross_entropy_with_logits(self.net(batch[0]), self.cells(batch[1]))

    def on_validation_epoch_start(self):
        self.hits, self.wanted = [], []

    def validation_step(self, batch, index):
        scores, cells = self.net(batch[0]), self.cells(batch[1])
        self.hits += (cells.bool() & (scores > 0)).sum(1).tolist()
        self.wanted += cells.sum(1).tolist()
        self.log("loss", nn.functional.binary_cross_entropy_with_logits(scores, cells), batch_size=len(scores))

    def on_validation_epoch_end(self):
        self.log("recall", sum(self.hits) / sum(self.wanted))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
train_loader = DataLoader(Scenes(400, 0), batch_size=16, shuffle=True, collate_fn=collate)
trainer.fit(Detector(), train_loader, DataLoader(Scenes(50, 1), batch_size=16, collate_fn=collate))
print(f"recall {trainer.callback_metrics['recall']:.3f}")
