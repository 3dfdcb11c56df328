"""Feed records of any kind through the ring, as numpy arrays of one shape.

A store is a class with `__len__` and `get(index)`, and with `label(index)` for data with labels. The function
`decode(buffer, out, rng)` writes a record into the sample's place in the batch. The records of this example are slices of one
block of bytes, as those of a memory-mapped file would be.
"""

import numpy as np
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch import optim

from accel.data import Records, Ring

pictures, labels = train_set.tensors


class Block:
    """Store of pictures of 64 bytes, one after the other."""

    content = memoryview((pictures * 16).to(torch.uint8).numpy().tobytes())

    def __len__(self):
        return len(self.content) // 64

    def get(self, index):
        """Return the bytes of a picture, as a view: nothing is copied."""
        return self.content[64 * index : 64 * (index + 1)]

    def label(self, index):
        return int(labels[index])


def decode(buffer, out, rng):
    """Write a picture into `out`, (1, 8, 8) float32, scaled to 0 to 1, with noise that belongs to this sample and epoch."""
    np.divide(np.frombuffer(buffer, np.uint8).reshape(out.shape), 16, out=out)
    out += rng.normal(0, 0.02, out.shape)


torch.manual_seed(0)
model, updates = net(), 0
adamw = optim.AdamW(model.parameters(), lr=2e-3)
with Ring(Records(Block(), decode, (1, 8, 8), np.float32), batch_size=32, seed=0, shuffle=True, threads=2) as ring:
    for epoch in range(5):
        for batch in ring.epoch(epoch):
            loss(model, batch).backward()
            adamw.step()
            adamw.zero_grad()
            updates += 1

with torch.no_grad():
    score = accuracy(model, test_set.tensors)["accuracy"]
print(f"accuracy {score:.3f} after {updates} updates")
