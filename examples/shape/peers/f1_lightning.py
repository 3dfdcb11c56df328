"""F1 of torchmetrics, over the whole of the held-out data."""

import lightning as L
import torch
from digits import loss, net, test_set, train_set
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassF1Score


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.f1 = net(), MulticlassF1Score(10)

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.f1.update(self.net(batch[0]), batch[1])
        self.log("f1", self.f1)

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True), DataLoader(test_set, batch_size=60))
print(f"F1 {trainer.callback_metrics['f1']:.3f}")
