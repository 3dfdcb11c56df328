"""A convnet learns handwritten digits: by Accelerate, in bfloat16, with accumulation, clipping, a schedule and checkpoints."""

import torch
from accelerate import Accelerator
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader, TensorDataset

pictures, labels = map(torch.from_numpy, load_digits(return_X_y=True))
digits = TensorDataset(pictures.float().div(16).reshape(-1, 1, 8, 8), labels)
train_set, test_set = TensorDataset(*digits[:1408]), TensorDataset(*digits[1408:])

torch.manual_seed(0)
net = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(256, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
accelerator = Accelerator(cpu=True, mixed_precision="bf16", gradient_accumulation_steps=4)
train_loader = DataLoader(train_set, batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(0))
optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=3 * -(-len(train_loader) // 4), cycle_momentum=False)
model, optimizer, loader, test_loader, scheduler = accelerator.prepare(
    net, optimizer, train_loader, DataLoader(test_set, batch_size=64), scheduler
)
updates, losses = 0, []
for epoch in range(3):
    model.train()
    for x, y in loader:
        with accelerator.accumulate(model):
            loss = nn.functional.cross_entropy(model(x), y)
            losses.append(loss.detach())
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            updates += 1
            print(f"update {updates} loss {sum(losses) / len(losses):.9f}")
            losses.clear()
    model.eval()
    right = []
    with torch.no_grad():
        for x, y in test_loader:
            right.append(accelerator.gather_for_metrics(model(x).argmax(1) == y))
    print(f"epoch {epoch + 1} accuracy {torch.cat(right).float().mean():.4f}")
    accelerator.save_state("runs/digits")
