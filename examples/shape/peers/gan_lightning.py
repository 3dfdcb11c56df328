"""A GAN: two losses, two optimisers, two rates; the generator moves in every second update."""

import lightning as L
import torch
from digits import test_set, train_set
from torch import nn
from torch.nn.functional import softplus
from torch.utils.data import DataLoader


class GAN(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))

    def fakes(self, pictures):
        return self.generator(torch.randn(len(pictures), 16, device=pictures.device))

    def training_step(self, batch, index):
        critic_optimizer, generator_optimizer = self.optimizers()
        self.toggle_optimizer(critic_optimizer)
        real, fake = batch[0], self.fakes(batch[0]).detach()
        loss = softplus(-self.critic(real)).mean() + softplus(self.critic(fake)).mean()
        self.log("critic/loss", loss)
        critic_optimizer.zero_grad()
        self.manual_backward(loss)
        critic_optimizer.step()
        self.untoggle_optimizer(critic_optimizer)
        if index % 2 == 0:
            self.toggle_optimizer(generator_optimizer)
            loss = softplus(-self.critic(self.fakes(batch[0]))).mean()
            self.log("generator/loss", loss)
            generator_optimizer.zero_grad()
            self.manual_backward(loss)
            generator_optimizer.step()
            self.untoggle_optimizer(generator_optimizer)

    def validation_step(self, batch, index):
        self.log("distance", (self.fakes(batch[0]).mean(0) - batch[0].mean(0)).abs().mean())

    def configure_optimizers(self):
        return [
            torch.optim.AdamW(self.critic.parameters(), lr=1e-3, betas=(0.5, 0.999)),
            torch.optim.AdamW(self.generator.parameters(), lr=2e-3, betas=(0.5, 0.999)),
        ]


L.seed_everything(0)
trainer = L.Trainer(
    max_epochs=10, accelerator="cpu", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
)  # fmt: skip
trainer.fit(GAN(), DataLoader(train_set, batch_size=60, shuffle=True), DataLoader(test_set, batch_size=60))
print(f"distance of the mean pictures {trainer.callback_metrics['distance']:.3f}")
