"""Bad samples in words."""

from __future__ import annotations

import pytest

from accel.data.batches.bad_samples import MAX_EXAMPLES, RAISE, BadSampleLog, failure_reason


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_first_few_are_shown_and_dots_stand_for_others(more: int) -> None:
    log = BadSampleLog(RAISE, 1000)
    log.reasons = {sample: f"reason {sample}" for sample in range(MAX_EXAMPLES + more)}
    shown = " | ".join(f"sample {sample}: reason {sample}" for sample in range(min(MAX_EXAMPLES, MAX_EXAMPLES + more)))
    assert log.examples() == shown + f" | and {more} more" * (more > 0)


def test_a_reason_is_one_line_of_200_characters_at_most() -> None:
    assert failure_reason(ValueError("two\n  lines")) == "ValueError: two lines"
    assert failure_reason(ValueError("x" * 500)) == "ValueError: " + "x" * 188
