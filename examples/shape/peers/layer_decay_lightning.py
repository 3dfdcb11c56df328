"""Let lower layers learn more slowly: 0.75 times the rate, for each layer further down."""

import lightning as L
import torch
from digits import accuracy, loss, test_set, train_set
from torch import nn
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        blocks = [nn.TransformerEncoderLayer(32, 2, 64, batch_first=True) for _ in range(2)]
        self.net = nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 32), *blocks, nn.Flatten(), nn.Linear(256, 10))

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log_dict(accuracy(self.net, batch))

    def configure_optimizers(self):
        layers = [self.net[1], self.net[2], self.net[3], self.net[5]]
        groups = [{"params": layer.parameters(), "lr": 1e-3 * 0.75 ** (3 - depth)} for depth, layer in enumerate(layers)]
        return torch.optim.AdamW(groups)


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
)  # fmt: skip
trainer.fit(Classifier(), DataLoader(train_set, batch_size=32, shuffle=True), DataLoader(test_set, batch_size=32))
print(f"accuracy {trainer.callback_metrics['accuracy']:.3f}")
