"""A convnet learns handwritten digits: by Lightning, in bfloat16, with accumulation, clipping, a schedule and checkpoints."""

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

pictures, labels = map(torch.from_numpy, load_digits(return_X_y=True))
digits = TensorDataset(pictures.float().div(16).reshape(-1, 1, 8, 8), labels)
train_set, test_set = TensorDataset(*digits[:1408]), TensorDataset(*digits[1408:])
order = DistributedSampler(train_set, num_replicas=1, rank=0, seed=0)  # a function of the seed and the epoch


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
        self.losses = []

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.losses.append(loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer):
        print(f"update {self.global_step + 1} loss {sum(self.losses) / len(self.losses):.9f}")
        self.losses.clear()

    def validation_step(self, batch, index):
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean(), batch_size=len(y))

    def on_validation_epoch_end(self):
        print(f"epoch {self.current_epoch + 1} accuracy {self.trainer.callback_metrics['accuracy']:.4f}")

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=self.trainer.estimated_stepping_batches, cycle_momentum=False)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


L.seed_everything(0, verbose=False)
loader = DataLoader(train_set, batch_size=16, sampler=order)
test_loader = DataLoader(test_set, batch_size=64)
trainer = L.Trainer(
    max_epochs=3,
    precision="bf16-mixed",
    accumulate_grad_batches=4,
    gradient_clip_val=1.0,
    accelerator="cpu",
    callbacks=[ModelCheckpoint("runs/digits", save_last=True)],
    logger=False,
    num_sanity_val_steps=0,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Classifier(), loader, test_loader, ckpt_path="last")
