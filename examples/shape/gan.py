"""A GAN: two losses over parameters of their own, two optimisers, two rates; the generator moves in every second update."""

import torch
from digits import test_set, train_set
from torch import nn
from torch.nn.functional import softplus

from accel import Minimize, Trainer
from accel.plugins import AdamW


class GAN(Trainer):
    def model(self):
        generator = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
        critic = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1))
        return nn.ModuleDict({"generator": generator, "critic": critic})

    def data(self, split):
        return train_set if split == "train" else test_set

    def fakes(self, model, pictures):
        return model["generator"](torch.randn(len(pictures), 16, device=pictures.device))

    def critic_loss(self, model, batch):
        real, fake = batch[0], self.fakes(model, batch[0]).detach()
        return softplus(-model["critic"](real)).mean() + softplus(model["critic"](fake)).mean()

    def generator_loss(self, model, batch):
        return softplus(-model["critic"](self.fakes(model, batch[0]))).mean()

    def objectives(self, model):
        return [
            Minimize("critic", model["critic"].parameters(), self.critic_loss, plugins=[AdamW(lr=1e-3, beta1=0.5)]),
            Minimize("generator", "generator.*", self.generator_loss, every=2, plugins=[AdamW(lr=2e-3, beta1=0.5)]),
        ]

    def metrics(self, model, batch):
        return {"distance": (self.fakes(model, batch[0]).mean(0) - batch[0].mean(0)).abs().mean()}


result = GAN(epochs=10, batch_size=60, device="cpu").fit()
print(f"distance of the mean pictures {result.metrics['distance']:.3f}")
