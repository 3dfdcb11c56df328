"""The norms of gradients and weights, and how far each update moves the weights, with the loss in metrics.csv."""

import csv
from pathlib import Path

import lightning as L
import torch
from digits import loss, net, train_set
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import grad_norm
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        self.log("loss", batch_loss := loss(self.net, batch))
        return batch_loss

    def on_before_optimizer_step(self, optimizer):
        self.before = [weight.detach().clone() for weight in self.net.parameters()]
        self.log("grad_norm", grad_norm(self.net, 2)["grad_2.0_norm_total"])
        self.log("grad_norm/6", grad_norm(self.net[6], 2)["grad_2.0_norm_total"])

    def on_train_batch_end(self, outputs, batch, index):
        weights = [weight.detach() for weight in self.net.parameters()]
        norm = torch.nn.utils.get_total_norm(weights)
        steps = [weight - before for weight, before in zip(weights, self.before, strict=True)]
        self.log_dict({"weight_norm": norm, "update_ratio": torch.nn.utils.get_total_norm(steps) / norm})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", logger=CSVLogger("norms", "", ""), log_every_n_steps=8, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True))
with Path("norms/metrics.csv").open() as file:
    row = {name: float(value) for name, value in next(csv.DictReader(file)).items()}
print(f"gradient {row['grad_norm']:.3f}, of the last layer {row['grad_norm/6']:.3f}; step / weights {row['update_ratio']:.5f}")
