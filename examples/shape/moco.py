"""MoCo: a second encoder that follows the first, and a queue of its keys; both are kept in checkpoints."""

import copy

import torch
from digits import net, train_set
from torch import nn
from torch.nn import functional as F

from accel import Trainer


class MoCo(nn.Module):
    """Encoder, the encoder that follows it, and the queue of keys, (1024, 10)."""

    def __init__(self):
        super().__init__()
        self.encoder = net()
        self.follower = copy.deepcopy(self.encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(1024, 10)))

    def follow(self):
        with torch.no_grad():
            for slow, fast in zip(self.follower.parameters(), self.encoder.parameters(), strict=True):
                slow.lerp_(fast, 0.01)


def view(pictures):
    return pictures + 0.2 * torch.randn_like(pictures)


def loss(model, batch):
    model.follow()  # after the last update
    queries = F.normalize(model.encoder(view(batch[0])))
    with torch.no_grad():
        keys = F.normalize(model.follower(view(batch[0])))
    scores = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ model.queue.clone().T], 1)
    model.queue = torch.cat([keys, model.queue])[:1024]
    return F.cross_entropy(scores / 0.2, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


result = Trainer(MoCo(), train_set, loss=loss, batch_size=64, epochs=2, device="cpu").fit()
print(f"loss {result.loss:.3f}")
