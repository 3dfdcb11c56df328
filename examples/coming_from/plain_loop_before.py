"""A convnet learns handwritten digits: by hand, in bfloat16, with accumulation, clipping and a schedule."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

pictures, labels = map(torch.from_numpy, load_digits(return_X_y=True))
digits = TensorDataset(pictures.float().div(16).reshape(-1, 1, 8, 8), labels)
train_set, test_set = TensorDataset(*digits[:1408]), TensorDataset(*digits[1408:])

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
loader = DataLoader(train_set, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(0))
test_loader = DataLoader(test_set, batch_size=64)

device, epochs, window = "cpu", 3, 4
model.to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=epochs * (len(loader) // window), cycle_momentum=False)
updates = 0
for epoch in range(epochs):
    model.train()
    mean_loss = torch.zeros((), device=device)
    for number, (x, y) in enumerate(loader, start=1):
        x, y = x.to(device), y.to(device)
        with torch.autocast(device, torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y) / window
        loss.backward()
        mean_loss += loss.detach()
        if number % window == 0:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            scheduler.step()
            updates += 1
            print(f"update {updates} loss {mean_loss:.9f}")
            mean_loss.zero_()
    model.eval()
    right = 0
    with torch.no_grad(), torch.autocast(device, torch.bfloat16):
        for x, y in test_loader:
            right += (model(x.to(device)).argmax(1) == y.to(device)).sum().item()
    print(f"epoch {epoch + 1} accuracy {right / len(test_set):.4f}")
    states = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    torch.save({"epoch": epoch, **{name: value.state_dict() for name, value in states.items()}}, "checkpoint.pt")
