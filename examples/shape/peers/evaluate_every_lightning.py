"""An evaluation every 20 updates, of 2 batches of each of two held-out sets."""

import lightning as L
import torch
from digits import loss, net, test_set, train_set
from torch.utils.data import DataLoader, Subset


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index, dataloader_idx=0):
        self.log("loss", loss(self.net, batch))

    def on_validation_epoch_end(self):
        print({name: f"{value:.3f}" for name, value in self.trainer.callback_metrics.items()})

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


L.seed_everything(0)
sets = [Subset(test_set, range(180)), Subset(test_set, range(180, 360))]
trainer = L.Trainer(
    max_epochs=2, val_check_interval=20, check_val_every_n_epoch=None, limit_val_batches=2, accelerator="cpu", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True), [DataLoader(each, batch_size=60) for each in sets])
