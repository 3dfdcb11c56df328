"""The call that a model is exported with: fewer samples than a batch of the evaluation has, and sizes that may change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from accel.errors import ConfigError
from accel.export.example import ModelCall, make_example


class SamplesLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, points: Tensor) -> Tensor:
        turned: Tensor = self.layer(points.t())
        return turned


def test_a_model_that_takes_samples_elsewhere_is_a_sentence_with_its_line() -> None:
    reason = r"the model takes 6 rows, .* and not 4: mat1 and mat2 .* line \d+: turned.*; an export needs samples in the first dim"
    with pytest.raises(ConfigError, match=reason):
        make_example(SamplesLast(), ModelCall((torch.randn(6, 8),), {}, None), "batch", None)


class Tagger(nn.Module):
    """Classes of a text and of each of its words, as many as the text is long."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(9, 5), nn.Linear(5, 5)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.last(self.words(tokens))
        return scores.mean(1), scores.argmax(2)


class Rigid(Tagger):
    """Takes no other length, which whoever builds the file says."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(tokens.view(-1, 5))


@pytest.mark.parametrize(("model", "first"), [(Tagger(), ("batch", 5)), (Rigid(), ("batch", "length"))])
def test_as_many_classes_as_a_text_is_long_are_no_length(model: nn.Module, first: tuple[object, ...]) -> None:
    example = make_example(model, ModelCall((torch.arange(30).view(6, 5) % 9,), {}, None), "length", None)
    assert [info.shape for info in example.input_infos] == [("batch", "length")]
    assert [info.shape for info in example.output_infos] == [first, ("batch", "length")]
