"""The task digit_net: a dense net learns handwritten digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from accel import Trainer


class DigitNet(Trainer):
    def __init__(self, lin1_size=64, lin2_size=128, batch=64, **run):
        super().__init__(**run)
        self.lin1_size, self.lin2_size, self.batch = lin1_size, lin2_size, batch

    def model(self):
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, self.lin1_size),
            nn.BatchNorm1d(self.lin1_size),
            nn.ReLU(),
            nn.Linear(self.lin1_size, self.lin2_size),
            nn.BatchNorm1d(self.lin2_size),
            nn.ReLU(),
            nn.Linear(self.lin2_size, 10),
        )

    def data(self, split):
        pictures, labels = map(torch.from_numpy, load_digits(return_X_y=True))
        pictures = pictures.float().div(16).reshape(-1, 1, 8, 8)
        if split != "train":
            return DataLoader(TensorDataset(pictures[1408:], labels[1408:]), batch_size=self.batch)
        train_set = TensorDataset(pictures[:1408], labels[:1408])
        order = DistributedSampler(train_set, num_replicas=1, rank=0, seed=0)
        return DataLoader(train_set, batch_size=self.batch, sampler=order)

    def loss(self, model, batch):
        x, y = batch
        return nn.functional.cross_entropy(model(x), y)

    def metrics(self, model, batch):
        x, y = batch
        return {"accuracy": (model(x).argmax(1) == y).float().mean()}
