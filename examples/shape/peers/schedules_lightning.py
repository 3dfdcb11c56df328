"""Train with each of the schedules: functions of the update, which need the number of all updates."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch.optim.lr_scheduler import LambdaLR, LinearLR, MultiStepLR, PolynomialLR
from torch.utils.data import DataLoader

SCHEDULES = {
    "linear": lambda optimizer, updates: LinearLR(optimizer, 1.0, 0.0, updates),
    "wsd": lambda optimizer, updates: LambdaLR(optimizer, lambda update: min(1.0, (updates - update) / (0.3 * updates))),
    "step": lambda optimizer, updates: MultiStepLR(optimizer, [round(0.5 * updates), round(0.8 * updates)]),
    "polynomial": lambda optimizer, updates: PolynomialLR(optimizer, updates, 0.9),
    "constant": lambda optimizer, updates: LinearLR(optimizer, 0.1, total_iters=9),
}


class Classifier(L.LightningModule):
    def __init__(self, schedule):
        super().__init__()
        self.net, self.schedule = net(), schedule

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log_dict(accuracy(self.net, batch))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        schedule = SCHEDULES[self.schedule](optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


for name in SCHEDULES:
    L.seed_everything(0)
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Classifier(name), DataLoader(train_set, batch_size=32, shuffle=True), DataLoader(test_set, batch_size=32))
    print(f"{name}: accuracy {trainer.callback_metrics['accuracy']:.3f}")
