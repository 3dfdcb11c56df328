"""Feed a training loop of your own by Ring and DataLoaderX.

`Ring` reads in threads, into the memory of batches that is used again. The method `fill` of the data set writes one sample there.
`DataLoaderX` is torch's DataLoader with a thread that reads the next batches during the step.
"""

import numpy as np
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch import optim

from accel.data import DataLoaderX, Ring


class Digits:
    """Training digits, each shifted by up to a pixel, anew in every epoch."""

    shape, dtype = (1, 8, 8), np.float32  # of one sample

    def __len__(self):
        return len(train_set)

    def fill(self, index, rng, out):
        """Write picture `index` into `out`, (1, 8, 8) float32, and return its label. `rng` belongs to this sample and epoch."""
        picture, label = train_set[index]
        out[...] = np.roll(picture.numpy(), rng.integers(-1, 2, size=2), axis=(1, 2))
        return int(label)


torch.manual_seed(0)
model, updates = net(), 0
adamw = optim.AdamW(model.parameters(), lr=2e-3)
with Ring(Digits(), batch_size=32, seed=0, shuffle=True, threads=2) as ring:
    for epoch in range(5):
        for batch in ring.epoch(epoch):
            loss(model, batch).backward()
            adamw.step()
            adamw.zero_grad()
            updates += 1

with torch.no_grad():
    correct = sum(len(batch[1]) * accuracy(model, batch)["accuracy"] for batch in DataLoaderX(test_set, batch_size=64, depth=2))
print(f"accuracy {correct / len(test_set):.3f} after {updates} updates")
