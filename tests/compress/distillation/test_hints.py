import pytest
import torch
from torch import nn
from torch.nn import functional as F

from accel.compress.distillation.hints import Hints, hint_pairs, width_of
from accel.errors import ConfigError


def net(width: int, classes: int = 3) -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(body, nn.Conv2d(width, 2 * width, 3, stride=2), nn.Flatten(), nn.Linear(2 * width * 9, classes))


def distance(student: nn.Module, teacher: nn.Module, pairs: dict[str, str]) -> tuple[Hints, torch.Tensor]:
    hints = Hints(student, teacher, pairs, seed=1)
    pictures = torch.randn(2, 3, 8, 8)
    with hints.recorded():
        student(pictures)
    with torch.no_grad():
        teacher(pictures)
    return hints, hints.loss()


def test_the_projection_is_a_parameter_that_no_state_has() -> None:
    student, teacher = net(4), net(6)
    names, before = list(student.state_dict()), [name for name, _ in student.named_parameters()]
    hints, loss = distance(student, teacher, {"0": "0", "1": "1"})
    added = [name for name, _ in student.named_parameters() if name not in before]
    assert added == ["distill_hint0_weight", "distill_hint0_bias", "distill_hint1_weight", "distill_hint1_bias"]
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(param.grad is not None for name, param in student.named_parameters() if name in added)
    assert list(student.state_dict()) == names
    student.load_state_dict(student.state_dict())
    assert student(torch.randn(2, 3, 8, 8)).shape == (2, 3), "a Sequential calls nothing new"
    hints.close()
    assert [name for name, _ in student.named_parameters()] == before


def test_equal_widths_are_compared_as_they_are() -> None:
    torch.manual_seed(0)
    student, teacher = net(4), net(4)
    hints, loss = distance(student, teacher, {"0": "0"})
    torch.manual_seed(0)
    assert not hints.projections
    pictures = torch.randn(2, 3, 8, 8)
    with hints.recorded():
        student(pictures)
    teacher(pictures)
    assert torch.equal(hints.loss(), F.mse_loss(student[0](pictures), teacher[0](pictures)))
    assert loss > 0


@pytest.mark.parametrize("shape", [(2,), (2, 7), (2, 3, 5)])
def test_tokens_and_vectors_are_projected_in_their_last_dimension(shape: tuple[int, ...]) -> None:
    student, teacher = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 6))
    hints = Hints(student, teacher, {"0": "0"}, seed=0)
    with hints.recorded():
        mine = student(torch.ones(*shape, 4))
    theirs = teacher(torch.ones(*shape, 4))
    by_hand = F.mse_loss(F.linear(mine, hints.added["distill_hint0_weight"], hints.added["distill_hint0_bias"]), theirs)
    assert torch.equal(hints.loss(), by_hand)


def test_widths_are_told_by_the_last_layer_that_has_one() -> None:
    assert width_of(net(4)[0]) == 4
    assert width_of(net(4)[1]) == 8
    assert width_of(nn.Sequential(nn.Linear(2, 5), nn.LayerNorm(5), nn.ReLU())) == 5
    assert width_of(nn.ReLU()) is None


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ({"9": "0"}, "the student has no module '9'"),
        ({"0": "layer"}, "the teacher has no module 'layer'"),
        ({"0.2": "0.2"}, "no layer in 0.2 of the student tells how many channels it returns; name the module before it"),
        ({"0": "1"}, "which no projection of channels makes equal; name modules at the same place"),
    ],
)
def test_hints_that_cannot_work(pairs: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=r"^distill\.hints") as caught:
        distance(net(4), net(6), pairs)
    assert sentence in str(caught.value)


def test_the_setting() -> None:
    assert hint_pairs(["a", "b.c"]) == {"a": "a", "b.c": "b.c"}
    assert hint_pairs({"a": "b"}) == {"a": "b"}
    for wrong in ("a", [], {}, [1], {"a": 1}):
        with pytest.raises(ConfigError, match=r"distill\.hints must be names of modules"):
            hint_pairs(wrong)
