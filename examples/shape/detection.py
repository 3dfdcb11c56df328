"""Detection with a ragged number of boxes: `collate` keeps lists, and a function at the end sees all of the evaluation."""

import torch
from torch import nn

from accel import Trainer
from accel.plugins import AdamW


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


class Detector(Trainer):
    """Finds in which of 3 x 3 cells there is a box."""

    def __init__(self, **run):
        super().__init__(**run)
        self.hits, self.wanted = [], []

    def collate(self, samples):
        return torch.stack([picture for picture, _ in samples]), [boxes for _, boxes in samples]

    def model(self):
        return nn.Sequential(nn.Conv2d(1, 8, 8, stride=8), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Flatten())

    def data(self, split):
        return Scenes(400, 0) if split == "train" else Scenes(50, 1)

    def cells(self, boxes):
        return torch.stack([torch.zeros(9).index_fill(0, (each[:, 1] * 3 + each[:, 0]) // 8, 1.0) for each in boxes])

    def loss(self, model, batch):
        return nn.functional.binary_cross_entropy_with_logits(model(batch[0]), self.cells(batch[1]))

    def metrics(self, model, batch):
        scores, cells = model(batch[0]), self.cells(batch[1])
        self.hits += (cells.bool() & (scores > 0)).sum(1).tolist()
        self.wanted += cells.sum(1).tolist()
        return {"loss": nn.functional.binary_cross_entropy_with_logits(scores, cells)}

    def evaluated(self, metrics):
        recall = sum(self.hits) / sum(self.wanted)
        self.hits, self.wanted = [], []
        return {"recall": recall}


result = Detector(plugins=[AdamW(lr=0.01)], epochs=3, batch_size=16, device="cpu", watch=()).fit()
print(f"recall {result.metrics['recall']:.3f}")
