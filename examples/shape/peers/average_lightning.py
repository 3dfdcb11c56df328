"""Stochastic weight averaging: the mean of the weights at the ends of the last epochs, with BatchNorm estimated anew."""

import lightning as L
import torch
from digits import accuracy, loss, test_set, train_set
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 36, 10))

    def forward(self, pictures):
        return self.net(pictures)

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log_dict(accuracy(self.net, batch))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=4, callbacks=[StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=0.5)], accelerator="cpu", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
classifier, held_out = Classifier(), DataLoader(test_set, batch_size=60)
trainer.fit(classifier, DataLoader(train_set, batch_size=60, shuffle=True))
print(f"accuracy {trainer.validate(classifier, held_out, verbose=False)[0]['accuracy']:.3f}")
