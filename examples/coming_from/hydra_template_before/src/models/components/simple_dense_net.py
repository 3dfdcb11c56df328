from torch import nn


class SimpleDenseNet(nn.Module):
    def __init__(self, lin1_size=64, lin2_size=128):
        super().__init__()
        self.model = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, lin1_size),
            nn.BatchNorm1d(lin1_size),
            nn.ReLU(),
            nn.Linear(lin1_size, lin2_size),
            nn.BatchNorm1d(lin2_size),
            nn.ReLU(),
            nn.Linear(lin2_size, 10),
        )

    def forward(self, x):
        return self.model(x)
