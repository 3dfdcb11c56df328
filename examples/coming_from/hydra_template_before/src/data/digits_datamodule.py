import torch
from lightning import LightningDataModule
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


class DigitsDataModule(LightningDataModule):
    def __init__(self, batch_size=64):
        super().__init__()
        self.save_hyperparameters(logger=False)

    def setup(self, stage=None):
        pictures, labels = map(torch.from_numpy, load_digits(return_X_y=True))
        pictures = pictures.float().div(16).reshape(-1, 1, 8, 8)
        self.data_train = TensorDataset(pictures[:1408], labels[:1408])
        self.data_val = TensorDataset(pictures[1408:], labels[1408:])

    def train_dataloader(self):
        order = DistributedSampler(self.data_train, num_replicas=1, rank=0, seed=0)
        return DataLoader(self.data_train, batch_size=self.hparams.batch_size, sampler=order)

    def val_dataloader(self):
        return DataLoader(self.data_val, batch_size=self.hparams.batch_size)
