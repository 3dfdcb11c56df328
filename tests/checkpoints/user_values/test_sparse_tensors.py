"""Sparse tensors of a model come back with a resumed run, whatever their layout, and wherever they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.checkpoints.user_values.kept_values import can_be_kept, copied, put_back, to_plain, undone
from accel.parts import Part
from accel.plugins import AMP, EMA, OOM, SGD, Accumulate, FiniteGuard
from accel.report.result import Result

pytestmark = pytest.mark.filterwarnings(
    "ignore:model.safetensors is without edges", "ignore:.*([Ss]parse|nested tensors):UserWarning"
)

EDGES = torch.eye(6) * 2 + torch.eye(6).roll(1, 0)
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "coo": Tensor.to_sparse,
    "coo, an index twice": lambda dense: torch.cat([dense.to_sparse()[None]] * 2).transpose(0, 1).sum(1),
    "csr": Tensor.to_sparse_csr,
    "csc": Tensor.to_sparse_csc,
    "bsr": lambda dense: dense.to_sparse_bsr((2, 2)),
    "bsc": lambda dense: dense.to_sparse_bsc((2, 2)),
}
X = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
DATA = list(zip(X.split(5), (torch.arange(20) % 3).split(5), strict=True))


class Graph(nn.Module):
    """A model with a sparse matrix, which its training may give other numbers, and more of them."""

    def __init__(self, layout: str, place: str, moves: bool) -> None:
        super().__init__()
        self.layer, self.make, self.moves = nn.Linear(6, 3), LAYOUTS[layout], moves
        if place == "attribute":
            self.edges = self.make(EDGES)
        else:
            self.register_buffer("edges", self.make(EDGES), persistent=place == "buffer")

    def forward(self, x: Tensor) -> Any:
        dense = self.edges.to_dense()
        if self.training and self.moves:
            self.edges = self.make(dense * 1.1 + torch.eye(6).roll(int(dense.count_nonzero()), 1))
        return self.layer(x @ dense)


def fit(layout: str, place: str, moves: bool, *plugins: Part, **run: Any) -> Result:
    torch.manual_seed(1)
    return Trainer(
        Graph(layout, place, moves), DATA, val=DATA, loss=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), watch=(),
        plugins=[SGD(), *plugins], device="cpu", **run,
    ).fit()  # fmt: skip


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("place", ["buffer", "hidden buffer", "attribute"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_resumed_run_has_it_as_it_was(layout: str, place: str, moves: bool, tmp_path: Path) -> None:
    whole = fit(layout, place, moves, epochs=2)
    fit(layout, place, moves, epochs=1, out=tmp_path)
    resumed = fit(layout, place, moves, epochs=2, resume=tmp_path)
    assert resumed.model.edges.layout == whole.model.edges.layout
    assert torch.equal(resumed.model.edges.to_dense(), whole.model.edges.to_dense())  # type: ignore[operator]
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)  # type: ignore[arg-type, union-attr]


BESIDE: dict[str, Callable[[], list[Part]]] = {
    "average and guard": lambda: [EMA(), FiniteGuard()],
    "oom": lambda: [OOM()],
    "float16": lambda: [AMP(dtype="float16", force=True), Accumulate(steps=2)],
}


@pytest.mark.parametrize("name", BESIDE)
def test_parts_that_put_buffers_back_leave_it_alone(name: str) -> None:
    results = [fit(layout, "buffer", False, *BESIDE[name]()) for layout in LAYOUTS if layout != "coo, an index twice"]
    assert all(torch.equal(result.model.layer.weight, results[0].model.layer.weight) for result in results)  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_kept_as_dense_pieces_and_a_trial_is_undone(layout: str) -> None:
    tensor = LAYOUTS[layout](EDGES)
    dense, copy, plain = tensor.to_dense(), copied(tensor), to_plain(tensor)
    assert all(piece.layout == torch.strided for piece in plain["items"][2])
    back = put_back(None, plain, torch.device("cpu"))
    assert (back.layout, back.dtype) == (tensor.layout, tensor.dtype)
    assert torch.equal(back.to_dense(), dense)
    (tensor._values() if layout.startswith("coo") else tensor.values()).mul_(3)
    assert undone(copy) is tensor
    assert torch.equal(tensor.to_dense(), dense)
    broken = {**plain, "items": [*plain["items"][:2], [plain["items"][2][0] + 99, *plain["items"][2][1:]], True]}
    with pytest.raises(RuntimeError, match="indices"):
        put_back(None, broken, torch.device("cpu"))
    assert not can_be_kept(torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
