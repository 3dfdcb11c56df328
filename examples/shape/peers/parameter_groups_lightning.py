"""Give the head a rate of its own, and the biases no weight decay."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
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
        named = dict(self.net.named_parameters())
        head = [param for name, param in named.items() if name.startswith("6.")]
        biases = [param for name, param in named.items() if name.endswith(".bias") and not name.startswith("6.")]
        others = [param for name, param in named.items() if not name.endswith(".bias") and not name.startswith("6.")]
        groups = [{"params": head, "lr": 0.01}, {"params": biases, "weight_decay": 0, "lr": 2e-3}, {"params": others}]
        return torch.optim.AdamW(groups, lr=1e-3)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=32, shuffle=True), DataLoader(test_set, batch_size=32))
print(f"accuracy {trainer.callback_metrics['accuracy']:.3f}")
