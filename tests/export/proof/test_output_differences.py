"""Differences between outputs: the largest, the mean, and the top class."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from accel.export.proof.departure import INPUT, Departure
from accel.export.proof.output_differences import OutputDifferences
from accel.export.proof.proof import Proof


def differences(one: list[list[float]], two: list[list[float]]) -> OutputDifferences:
    known = OutputDifferences()
    known.add([torch.tensor(one)], [torch.tensor(two)], ["scores"])
    return known


def test_a_difference_is_a_share_of_the_largest_output() -> None:
    known = differences([[4.0, -8.0], [1.0, 0.0]], [[4.0, -8.0], [1.0, 0.4]])
    assert (known.largest, known.share, known.mean, known.agreement, known.place) == pytest.approx((0.4, 0.05, 0.1, 1.0, "scores"))
    known.add([torch.zeros(1, 2)], [torch.tensor([[0.0, 1.0]])], ["scores"])
    assert (known.largest, known.share, known.agreement) == pytest.approx((1.0, 0.125, 2 / 3))


def test_outputs_that_are_no_numbers_differ_from_all_others_and_not_from_each_other() -> None:
    assert differences([[nan, -inf, 1.0]], [[nan, -inf, 1.0]]).largest == 0
    assert differences([[nan, 1.0]], [[0.0, 1.0]]).share == inf
    assert differences([[1.0, 1.0]], [[inf, 1.0]]).share == inf
    assert differences([[0.0, 0.0]], [[0.0, 1e-3]]).share == pytest.approx(1e-3), "there is no largest output to compare with"


def test_other_shapes_and_numbers_of_outputs_are_no_equal_ones() -> None:
    known = differences([[1.0, 2.0]], [[1.0, 2.0, 3.0]])
    assert (known.share, known.place) == (inf, "scores of shape (1, 3) where it is (1, 2)")
    known = OutputDifferences()
    known.add([torch.ones(1)], [], ["scores"])
    assert (known.share, known.agreement) == (inf, None)


def proof(**more: object) -> Proof:
    facts = {
        "split": "test", "samples": 10, "largest": 0.1, "share": 0.01, "mean": 0.001, "place": "scores", "agreement": 0.9,
        "metrics": {}, "export_metrics": {}, "tolerance": 0.1, "least_agreement": 0.9, "bytes": 10, "torch_bytes": 10,
    }  # fmt: skip
    return Proof(**facts | more)  # type: ignore[arg-type]


def test_a_proof_says_what_it_misses() -> None:
    assert proof().holds
    assert proof(agreement=None).holds
    assert proof(share=0.2).problems == ["the largest difference is 0.2 of the largest output, in scores, and 0.1 is allowed"]
    assert proof(share=nan).problems, "what is no number is within no tolerance"
    assert proof(agreement=0.8).problems == ["the top class agrees in 80.00 %, and 90 % is asked for"]
    assert proof(changed=["model.onnx"]).problems == ["model.onnx is not the file of card.json (another sha256)"]
    assert proof(share=inf).as_dict()["share"] is None


@pytest.mark.parametrize(
    ("share", "words"), [(0.25, "by 0.25 of its largest output"), (inf, "by its shape, or numbers that are not finite")]
)
def test_a_departure_is_named_in_words(share: float, words: str) -> None:
    assert Departure("stem", "conv2d", share).sentence == f"the first layer that departs is stem (conv2d), {words}"
    assert words in Departure("", "addcmul", share).sentence
    assert words in Departure("", INPUT, share).sentence
