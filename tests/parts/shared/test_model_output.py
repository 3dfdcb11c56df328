"""Outputs of models that have their loss: the loss, and the number of tokens that it is a mean over."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accel import Trainer
from accel.errors import ConfigError
from accel.parts.shared.model_output import unpack_output
from accel.plugins import SGD, Accumulate

Rows = dict[str, Tensor]


@dataclass
class TokenOutput:
    loss: Tensor | None
    logits: Tensor | None


class SomeCausalLMOutput(OrderedDict[str, Any]):
    """As of transformers: a mapping whose name says that labels are moved."""


class Tokens(nn.Module):
    """A model of tokens that is given labels and returns its loss; `shift` places lie between a token and its label."""

    def __init__(self, shift: int, form: str = "record") -> None:
        super().__init__()
        self.table, self.shift, self.form = nn.Embedding(9, 9), shift, form

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.table(input_ids)
        loss = None
        if labels is not None:
            ends = logits.shape[1] - self.shift
            loss = F.cross_entropy(logits[:, :ends].flatten(0, 1), labels[:, self.shift :].flatten(), ignore_index=-100)
        if self.form == "no logits":
            return SomeCausalLMOutput(loss=loss)
        return TokenOutput(loss, logits) if self.form == "record" else {"loss": loss, "logits": logits}


def rows() -> Rows:
    """Six rows of five tokens, of which very unlike numbers count."""
    tokens = torch.randint(9, (6, 5), generator=torch.Generator().manual_seed(0))
    labels = tokens.clone()
    for row in range(6):
        labels[row, : min(row, 4)] = -100
    return {"input_ids": tokens, "labels": labels}


def train(model: nn.Module, batches: list[Rows], steps: int, **settings: Any) -> Any:
    return Trainer(
        model,
        batches,
        plugins=[SGD(lr=0.5, momentum=0.0), *([Accumulate(steps)] if steps > 1 else [])],
        watch=(),
        epochs=1,
        device="cpu",
        **settings,
    ).fit()


def cut(batch: Rows, size: int) -> list[Rows]:
    return [{name: value[start : start + size] for name, value in batch.items()} for start in range(0, 6, size)]


@pytest.mark.parametrize("form", ["record", "dict"])
@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("given", [False, True], ids=["no loss given", "output returned"])
def test_accumulated_tokens_are_the_big_batch(shift: int, form: str, given: bool) -> None:
    loss = {"loss": lambda model, batch: model(**batch)} if given else {}
    torch.manual_seed(0)
    one = Tokens(shift, form).double()
    other = Tokens(shift, form).double()
    other.load_state_dict(one.state_dict())
    whole = train(one, [rows()], 1, **loss)
    pieces = train(other, cut(rows(), 2), 3, **loss)
    torch.testing.assert_close(other.table.weight, one.table.weight, rtol=1e-7, atol=1e-9)  # weights of micro-batches are float32
    assert whole.loss == pytest.approx(pieces.loss, rel=1e-6)


@pytest.mark.parametrize("shift", [0, 1])
def test_an_evaluation_weighs_tokens_too(shift: int) -> None:
    model = Tokens(shift)
    result = Trainer(model, [rows()], val=cut(rows(), 2), plugins=[SGD(lr=0.1)], watch=(), epochs=1, device="cpu").fit()
    with torch.no_grad():
        assert result.metrics["loss"] == pytest.approx(float(model(**rows()).loss), rel=1e-6)


def test_without_logits_the_name_of_the_output_tells() -> None:
    model, batch = Tokens(1, "no logits"), rows()
    _, items = unpack_output(model(**batch), model, batch)
    assert int(items) == int((batch["labels"][:, 1:] != -100).sum())


def test_labels_that_are_no_tokens_count_as_samples() -> None:
    model = nn.Linear(2, 3)
    loss, labels = torch.tensor(1.0), torch.zeros(4, dtype=torch.int64)
    for batch in ({"labels": labels}, {"labels": torch.zeros(4, 2)}, {}, [labels]):
        assert unpack_output(TokenOutput(loss, torch.zeros(4, 3)), model, batch) is loss


def test_items_that_are_given_are_kept() -> None:
    model, batch = Tokens(0), rows()
    output = model(**batch)
    assert unpack_output((output, 3), model, batch) == (output.loss, 3)
    assert unpack_output((output, 3, {"a": 1.0}), model, batch) == (output.loss, 3, {"a": 1.0})
    loss, items, logged = unpack_output((output, {"a": 1.0}), model, batch)
    assert (loss, int(items), logged) == (output.loss, int((batch["labels"] != -100).sum()), {"a": 1.0})


def test_anything_else_is_left_to_others() -> None:
    model, loss = nn.Linear(1, 1), torch.tensor(1.0)
    pair = namedtuple("pair", "loss items")(loss, 3)
    for out in (loss, (loss, 3), pair, None, 3.0, {"a": loss}, [loss]):
        assert unpack_output(out, model, {}) is out


def test_an_output_without_a_loss_is_refused() -> None:
    model = Tokens(0)
    with pytest.raises(ConfigError, match=r"returned a TokenOutput without a loss; give the model labels=\.\.\., or compute"):
        Trainer(model, [rows()], loss=lambda model, batch: model(batch["input_ids"]), watch=(), device="cpu").fit()


def test_a_model_that_takes_no_labels_still_needs_a_loss() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x)
            return out

    for batch in ({"x": torch.zeros(3, 2), "labels": torch.zeros(3)}, (torch.zeros(3, 2), torch.zeros(3))):
        with pytest.raises(ConfigError, match="Trainer has no loss: pass loss="):
            Trainer(Plain(), [batch], watch=(), device="cpu").fit()
