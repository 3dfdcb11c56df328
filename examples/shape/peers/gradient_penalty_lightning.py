"""A gradient penalty: the loss differentiates the model by its input, and training differentiates that once more."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        pictures = batch[0].clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(self.net, (pictures, batch[1])), pictures, create_graph=True)
        penalty = slope.square().sum()
        self.log("penalty", penalty)
        return loss(self.net, batch) + penalty

    def validation_step(self, batch, index):
        self.log_dict(accuracy(self.net, batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True), DataLoader(test_set, batch_size=60))
print(f"accuracy {trainer.callback_metrics['accuracy']:.3f}")
