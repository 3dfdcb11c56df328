"""Sparse gradients are made dense for what cannot take them, and the summary names their parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from accel import Trainer
from accel.plugins.adamw import AdamW
from accel.plugins.sgd import SGD


class Words(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.other = nn.Embedding(9, 4, sparse=sparse), nn.Embedding(9, 4, sparse=sparse)
        self.plain, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, words: Tensor) -> Tensor:
        vectors: Tensor = self.table(words) + self.other(words) + self.plain(words)
        return self.head(vectors.mean(1))  # type: ignore[no-any-return]


def fit(sparse: bool, plugin: AdamW | SGD) -> tuple[Words, list[str]]:
    rng = torch.Generator().manual_seed(0)
    data = [(torch.randint(0, 9, (5, 3), generator=rng), torch.randint(0, 3, (5,), generator=rng)) for _ in range(4)]
    model = Words(sparse)
    result = Trainer(
        model, data, loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]), plugins=[plugin], epochs=2
    ).fit()
    return model, result.remarks


def test_they_are_named_and_train_as_dense_ones() -> None:
    sparse, remarks = fit(True, AdamW())
    dense, others = fit(False, AdamW())
    assert [remark for remark in remarks if "sparse" in remark] == ["sparse gradients (table.weight, other.weight) were made dense"]
    assert not [remark for remark in others if "sparse" in remark]
    for one, other in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
