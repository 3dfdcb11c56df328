"""Numbers beside the loss: means over each update, for a logger."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        self.log("train_accuracy", accuracy(self.net, batch)["accuracy"])
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log("val_accuracy", accuracy(self.net, batch)["accuracy"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True), DataLoader(test_set, batch_size=60))
print(f"accuracy {trainer.callback_metrics['val_accuracy']:.3f} in evaluation")
