"""Warm up and anneal by schedulers of torch, one after the other, stepped once per update."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log_dict(accuracy(self.net, batch))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=2e-3)
        cosine = CosineAnnealingLR(optimizer, self.trainer.estimated_stepping_batches - 10)
        schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=10), cosine], [10])
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=32, shuffle=True), DataLoader(test_set, batch_size=32))
print(f"accuracy {trainer.callback_metrics['accuracy']:.3f}")
