"""Lists, tuples, arrays and dicts as data: samples are trained as a DataLoader batches them, ready batches as they are."""

from __future__ import annotations

import re
from collections import UserDict, UserList, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset, default_collate

from accel import Trainer
from accel.data import Ring
from accel.data.batches.sample_lists import Rows, as_data_set, read_as
from accel.errors import AccelWarning, ConfigError

X = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()
ROWS = [(X[i], Y[i]) for i in range(50)]


def loss(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch.values() if isinstance(batch, dict) else batch
    x = torch.stack(x, dim=1).float() if isinstance(x, list) else x
    return nn.functional.cross_entropy(model(x), y.long())


def run(data: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    return Trainer(nn.Linear(8, 2), data, loss=settings.pop("loss", loss), **{"watch": ()} | settings).fit()


EXPECTED = run(TensorDataset(X, Y), val=TensorDataset(X, Y), batch_size=16)

SAMPLES: dict[str, Callable[[], Any]] = {
    "list": lambda: ROWS,
    "tuple": lambda: tuple(ROWS),
    "flags as labels": lambda: [(x, bool(y)) for x, y in ROWS],
    "numbers as labels": lambda: [(x, int(y)) for x, y in ROWS],
    "numpy": lambda: [(x.numpy(), y.numpy()) for x, y in ROWS],
    "dicts": lambda: [{"x": x, "y": y} for x, y in ROWS],
    "deque": lambda: deque(ROWS),
    "UserList": lambda: UserList(ROWS),
    "list of another class": lambda: type("Rows", (list,), {})(ROWS),
    "array of objects": lambda: np.array([(x.tolist(), int(y)) for x, y in ROWS] + [None], dtype=object)[:-1],
    "structured array": lambda: np.array([(x, y) for x, y in ROWS], dtype=[("x", "f4", 8), ("y", "i8")]),
    "array beside a list": lambda: (X.numpy(), Y.tolist()),
    "list of an array and a list": lambda: [X, Y.tolist()],
    "subset": lambda: Subset(ROWS, range(50)),  # type: ignore[arg-type]
    "columns": lambda: (X, Y),
    "list of columns": lambda: [X, Y],
    "columns of numpy": lambda: (X.numpy(), Y.numpy()),
    "dict of columns": lambda: {"x": X, "y": Y},
    "UserDict of columns": lambda: UserDict(x=X, y=Y),
    "dict of lists": lambda: {"x": list(X), "y": Y.tolist()},
}


@pytest.mark.parametrize("size", [16, None])
@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
def test_samples_are_batched_as_those_of_a_data_set(data: Callable[[], Any], size: int | None) -> None:
    result = run(data(), val=data(), batch_size=size)
    assert (result.updates, result.samples) == ((4, 50) if size else (2, 50))
    if size:
        assert torch.equal(result.model.weight, EXPECTED.model.weight)
        assert result.metrics == EXPECTED.metrics


@pytest.mark.parametrize("plugins", [["workers"], ["threads"], ["resident"], ["prefetch"], ["accumulate"]])
def test_every_loader_takes_a_list_of_samples(plugins: list[str]) -> None:
    plain = run(TensorDataset(X, Y), batch_size=16, plugins=[plugin for plugin in plugins if plugin == "accumulate"])
    result = run(ROWS, batch_size=16, plugins=plugins)
    assert torch.equal(result.model.weight, plain.model.weight)
    assert result.samples == 50


def test_rows_of_an_array() -> None:
    def square(model: nn.Module, batch: Tensor) -> Tensor:
        return model(batch).square().mean()

    for rows in (X, X.numpy()):
        assert torch.equal(
            run(rows, batch_size=16, loss=square).model.weight, run(list(X), batch_size=16, loss=square).model.weight
        )
        assert run(rows, loss=square).updates == 2


BATCHES: dict[str, Any] = {
    "pairs": [(X[:20], Y[:20]), (X[20:], Y[20:])],
    "dicts": [{"x": X[:20], "y": Y[:20]}, {"x": X[20:], "y": Y[20:]}],
    "matrices": [X[:20], X[20:]],
    "equal": [(X[:25], Y[:25]), (X[25:], Y[25:])],
    "detection": [((X[:3], X[3:5]), ({"a": Y[:3]}, {"a": Y[3:5]}))] * 2,
    "time first": [(torch.zeros(7, 4, 8), Y[:4])] * 2,
    "with a number of all": [(X[:20], Y[:20], 0.5), (X[20:], Y[20:], 0.5)],
}


@pytest.mark.parametrize("data", BATCHES.values(), ids=BATCHES)
def test_ready_batches_stay_ready(data: Any) -> None:
    def count(model: nn.Module, batch: Any) -> Tensor:
        return model(X).square().mean()

    assert run(data, loss=count).updates == 2
    assert run(DataLoader(data, batch_size=None), loss=count).updates == 2


EITHER: dict[str, Any] = {
    "vectors": list(X),
    "pairs of vectors": [(x, 2 * x) for x in X],
    "pictures": [torch.zeros(3, 8, 8)] * 8,
    "pictures and masks": [(torch.zeros(3, 8, 8), torch.zeros(8, 8))] * 8,
    "matrices and numbers": [(torch.zeros(28, 28), 3)] * 8,
    "lists": [{"a": [1, 2], "b": [3]}] * 8,
}


def remedies(warning: str, data: Any) -> list[dict[str, Any]]:
    """The arguments that a warning tells to pass, as they are when pasted into the call of a Trainer."""
    arguments = re.findall(r"(?:batch_size=\d+|data=\S+\([^;]*?\)+)(?=,? (?:for|or)|$)", warning)
    return [eval(f"dict({argument})", {"torch": torch, "data": data}) for argument in arguments]


@pytest.mark.parametrize("kind", [torch.Tensor.clone, torch.Tensor.numpy], ids=["tensors", "arrays"])
def test_columns_of_one_kind_that_may_be_batches_are_said(kind: Any) -> None:
    def count(model: nn.Module, batch: Any) -> Tensor:
        return model(X).square().mean()

    data = (kind(X), kind(X))
    with pytest.warns(
        AccelWarning, match="a tuple of 2 arrays that may be columns or ready batches, and they are taken for"
    ) as seen:
        assert run(data, loss=count).updates == 2
    assert [warning.filename for warning in seen] == [__file__]
    columns, batches = remedies(str(seen[0].message), data)
    assert run(**{"loss": count} | columns).updates == -(-len(X) // 32)
    assert run(**{"loss": count} | batches).updates == 2


@pytest.mark.parametrize("data", EITHER.values(), ids=EITHER)
def test_what_may_be_either_is_said(data: Any) -> None:
    def count(model: nn.Module, batch: Any) -> Tensor:
        return model(X).square().mean()

    with pytest.warns(AccelWarning, match="elements may be samples or ready batches, and are taken for batches") as seen:
        assert run(data, loss=count, val=data[:4]).updates == len(data)
    assert [warning.filename for warning in seen] == [__file__], "once, and at a line of the user's"
    samples, batches = remedies(str(seen[0].message), data)
    assert samples == {"batch_size": 32}
    assert run(**{"data": data, "loss": count} | samples).updates == -(-len(data) // 32)
    assert run(**{"data": data, "loss": count} | batches).updates == len(data)
    assert run(data, loss=count, batch_size=4).updates == -(-len(data) // 4)
    assert run(data, loss=count, collate=default_collate).updates == -(-len(data) // 32)


def test_columns_of_one_kind_whose_rows_are_unlike() -> None:
    def square(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch[0]) - batch[1]).square().mean()

    targets = torch.stack([Y, 1 - Y], dim=1).float()
    expected = run(TensorDataset(X, targets), batch_size=16, loss=square)
    assert torch.equal(run((X, targets), batch_size=16, loss=square).model.weight, expected.model.weight)
    assert run((X.numpy(), targets.numpy()), batch_size=16, loss=square).samples == 50


@pytest.mark.parametrize("data", [[X, X], (X, X), [X.numpy()] * 3], ids=["list", "tuple", "numpy"])
def test_arrays_that_may_be_columns_or_batches_are_said(data: Any) -> None:
    with pytest.warns(AccelWarning, match="arrays that may be columns or ready batches, and they are taken for batches"):
        assert run(data, loss=lambda model, batch: model(torch.as_tensor(batch)).square().mean()).updates == len(data)


def test_a_vector_and_a_float_are_a_sample() -> None:
    assert run([(x, float(y)) for x, y in ROWS]).updates == 2
    assert read_as({"x": X[0], "y": np.float32(1)}) == "sample"


def test_elements_one_by_one() -> None:
    for sample in (3, "text", b"x", None, True, np.float32(1), torch.tensor(2), ("text", 3), {"text": "a", "label": 1}):
        assert read_as(sample) == "sample"
    for sample in ((torch.zeros(8), 1), (torch.zeros(3, 8, 8), torch.tensor(1)), {"input_ids": [1, 2], "label": 1}):
        assert read_as(sample) == "sample"
    assert read_as((torch.zeros(28, 28), 3)) == "either", "a picture of one channel and its label, or a batch and its tokens"
    assert read_as((torch.zeros(28, 28), torch.tensor(3))) == "sample"
    assert read_as(object()) == "object"


def test_what_is_no_data() -> None:
    class Frame:
        iloc = None

    with pytest.raises(ConfigError, match="data is a Frame; pass a dict of arrays"):
        run(Frame())
    with pytest.raises(ConfigError, match="data is a dict of 'x' of 50, 'y' of 49; pass a dict of columns of one length"):
        run({"x": X, "y": Y[1:]})
    sets = {"train": TensorDataset(X, Y), "test": TensorDataset(X, Y)}
    with pytest.raises(
        ConfigError, match=r"data is a dict of data sets, 'train' and 'test'; pass one of them, such as data\['train'\]"
    ):
        run(sets)
    with pytest.raises(ConfigError, match="data is a tuple of columns of 50 and 49 samples; pass columns of one length"):
        run((X, Y[1:]))
    for wrong in ("train.csv", b"train", {1, 2}):
        with pytest.raises(ConfigError, match=f"data is a {type(wrong).__name__}, which is no data; pass a torch Dataset"):
            run(wrong)
    with pytest.raises(ConfigError, match=r"torch cannot collate \(RuntimeError: Batches of sparse tensors are not"):
        run([(x.to_sparse(), y) for x, y in ROWS])
    with pytest.raises(ConfigError, match=r"torch cannot collate \(ValueError: Overflow"):
        run([(2**70, y) for _, y in ROWS])
    with pytest.raises(ConfigError, match="data is a dict of nothing"):
        run({})


def test_a_batch_size_beside_a_loader_has_no_effect() -> None:
    with pytest.warns(AccelWarning, match="batch_size has no effect: the data comes in ready batches, of 10 samples .*, not 64"):
        assert run(DataLoader(TensorDataset(X, Y), 10), batch_size=64).updates == 5
    with pytest.raises(ConfigError, match="collate makes batches of samples, and the data comes in ready batches"):
        run(DataLoader(TensorDataset(X, Y), 10), collate=default_collate)


class Yielding:
    """Gives samples, and is neither a list nor an IterableDataset."""

    def __iter__(self) -> Any:
        return iter(ROWS)


class Stream(IterableDataset[Any]):
    __iter__ = Yielding.__iter__


def test_an_iterable_of_samples() -> None:
    assert run(Stream(), batch_size=16).updates == 4
    with pytest.warns(AccelWarning, match="data is a Yielding that gives samples, and each is taken for a ready batch; make it an"):
        assert run(Yielding()).updates == 50


def test_the_plan_says_what_the_elements_are(capsys: pytest.CaptureFixture[str]) -> None:
    run(ROWS, watch=("progress",))
    assert "of the list, each a sample" in capsys.readouterr().out
    run(BATCHES["pairs"], watch=("progress",))
    assert "of the list, each a ready batch" in capsys.readouterr().out


def test_a_ring_reads_a_list_of_samples() -> None:
    with Ring(ROWS, 16, threads=1) as ring:
        assert [len(y) for _, y in ring] == [16, 16, 16, 2]


@pytest.mark.parametrize(("channels", "are_samples"), [(1, True), (2, False), (3, True), (4, True), (5, False)])
@pytest.mark.parametrize("last", [True, False])
def test_two_pictures_of_one_size_may_be_a_sample(channels: int, are_samples: bool, last: bool) -> None:
    shape = (8, 9, channels) if last else (channels, 8, 9)
    data = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(3)]
    assert (type(as_data_set(data, True)) is Rows) == are_samples


def test_rows_of_an_array_of_objects_are_what_it_holds() -> None:
    pairs = np.empty(3, dtype=object)
    pairs[:] = [(torch.zeros(2), 1)] * 3
    assert isinstance(as_data_set(pairs, True)[0], tuple)
    table = np.empty((3, 2), dtype=object)
    table[:] = 1
    assert as_data_set(table, True)[0] == (1, 1)
    numbers = as_data_set(np.zeros((3, 2), dtype=np.float32), True)[0]
    assert isinstance(numbers, np.ndarray)
    assert numbers.shape == (2,)
