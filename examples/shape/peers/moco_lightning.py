"""MoCo: a second encoder that follows the first, and a queue of its keys; both are kept in checkpoints."""

import copy

import lightning as L
import torch
from digits import net, train_set
from torch.nn import functional as F
from torch.utils.data import DataLoader


class MoCo(L.LightningModule):
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

    def view(self, pictures):
        return pictures + 0.2 * torch.randn_like(pictures)

    def training_step(self, batch, index):
        self.follow()  # after the last update
        queries = F.normalize(self.encoder(self.view(batch[0])))
        with torch.no_grad():
            keys = F.normalize(self.follower(self.view(batch[0])))
        scores = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ self.queue.clone().T], 1)
        self.queue = torch.cat([keys, self.queue])[:1024]
        loss = F.cross_entropy(scores / 0.2, torch.zeros(len(scores), dtype=torch.long, device=scores.device))
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.encoder.parameters(), lr=0.01, momentum=0.9)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(MoCo(), DataLoader(train_set, batch_size=64, shuffle=True))
print(f"loss {trainer.callback_metrics['loss']:.3f}")
