"""A run of so many updates, whatever the epochs are; its schedule ends with it."""

import lightning as L
import torch
from digits import loss, net, train_set
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=40)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


L.seed_everything(0)
trainer = L.Trainer(
    max_steps=40, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True))
print(f"{trainer.global_step} updates")
