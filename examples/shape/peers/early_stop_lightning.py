"""A run that ends when its accuracy gains no more in 2 evaluations."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from lightning.pytorch.callbacks import EarlyStopping
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
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=50, callbacks=[EarlyStopping("accuracy", mode="max", patience=2)], accelerator="cpu", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True), DataLoader(test_set, batch_size=60))
print(f"after {trainer.current_epoch} epochs")
