"""A loop of one's own, fed by the ring and by DataLoaderX.

`Ring` reads by threads into memory that is used again: a data set says by `fill` how a sample is written there.
`DataLoaderX` is a DataLoader that reads the next batches in a thread, during the step.
"""

import numpy as np
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch import optim

from accel.data import DataLoaderX, Ring


class Digits:
    """The training digits, each moved by up to a pixel, anew in every epoch."""

    shape, dtype = (1, 8, 8), np.float32

    def __len__(self):
        return len(train_set)

    def fill(self, index, rng, out):
        """Writes picture `index` into `out`; `rng` belongs to this sample of this epoch. Returns the label."""
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
    parts = [(len(batch[1]), accuracy(model, batch)["accuracy"]) for batch in DataLoaderX(test_set, batch_size=64, depth=2)]
print(f"accuracy {sum(n * part for n, part in parts) / len(test_set):.3f} after {updates} updates")
