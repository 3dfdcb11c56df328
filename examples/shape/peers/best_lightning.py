"""The best weights of a run, kept as they were evaluated and loaded again."""

import lightning as L
import torch
from digits import accuracy, loss, net, test_set, train_set
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = net()

    def training_step(self, batch, index):
        return loss(self.net, batch)

    def validation_step(self, batch, index):
        self.log("accuracy", accuracy(self.net, batch)["accuracy"])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


L.seed_everything(0)
best = ModelCheckpoint(dirpath="run", monitor="accuracy", mode="max")
trainer = L.Trainer(
    max_epochs=4, accelerator="cpu", logger=False, callbacks=[best], enable_progress_bar=False, enable_model_summary=False
)
trainer.fit(Classifier(), DataLoader(train_set, batch_size=60, shuffle=True), DataLoader(test_set, batch_size=60))
model = Classifier.load_from_checkpoint(best.best_model_path).eval()
print(f"best: {best.best_model_path}, accuracy {best.best_model_score:.4f}")
print(f"loaded again: accuracy {accuracy(model.net, test_set[:])['accuracy']:.4f}")
