from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from accel.compress.distillation.soft_targets import entropy, soft_loss, soft_targets


def logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 10_000), st.integers(2, 12), st.lists(st.floats(0.5, 20.0), min_size=2, max_size=5, unique=True))
def test_the_entropy_of_soft_targets_rises_with_the_temperature(seed: int, classes: int, temperatures: list[float]) -> None:
    entropies = [entropy(soft_targets([logits(seed, 4, classes).double()], each)) for each in sorted(temperatures)]
    assert all((low <= high + 1e-12).all() for low, high in pairwise(entropies))
    assert (entropies[-1] <= torch.tensor(classes).log() + 1e-12).all()


@given(st.integers(0, 10_000), st.floats(0.5, 20.0), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_the_loss_is_the_hand_formula_to_the_bit(seed: int, temperature: float, dtype: torch.dtype) -> None:
    student, teacher = logits(seed, 8, 10).to(dtype), logits(seed + 1, 8, 10).to(dtype)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    p = F.softmax(teacher.to(wide) / temperature, dim=1)
    log_q = F.log_softmax(student.to(wide) / temperature, dim=1)
    by_hand = F.kl_div(log_q, p, reduction="none").sum(1).mean() * temperature**2
    assert torch.equal(soft_loss(student, soft_targets([teacher], temperature), temperature), by_hand)
    assert torch.allclose(by_hand, F.kl_div(log_q, p, reduction="batchmean") * temperature**2)


def test_several_teachers_give_the_mean_of_their_probabilities() -> None:
    each = [logits(seed, 5, 4) for seed in range(3)]
    assert torch.allclose(soft_targets(each, 2.0), torch.stack([F.softmax(one / 2, -1) for one in each]).mean(0), atol=1e-7)


def test_its_gradient_is_as_large_as_that_of_hard_targets_at_any_temperature() -> None:
    student = (0.01 * logits(0, 16, 10)).double().requires_grad_()
    sizes = []
    for temperature in (10.0, 100.0):  # for high temperatures it is (z - v) / classes: equation 4 of the paper
        (grad,) = torch.autograd.grad(
            soft_loss(student, soft_targets([logits(1, 16, 10).double()], temperature), temperature), student
        )
        sizes.append(float(grad.norm()))
    assert abs(sizes[0] / sizes[1] - 1) < 0.1


def test_positions_that_do_not_count_leave_no_trace() -> None:
    student, targets = logits(0, 2, 6, 5), soft_targets([logits(1, 2, 6, 5)], 3.0)
    counted = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    alone = soft_loss(student[counted], targets[counted], 3.0)
    assert torch.allclose(soft_loss(student, targets, 3.0, counted), alone)
    student[0, 5] = torch.inf
    assert torch.allclose(soft_loss(student, targets, 3.0, counted), alone)
    assert soft_loss(student, targets, 3.0, torch.zeros(2, 6, dtype=torch.bool)).isnan(), "the mean of nothing"
