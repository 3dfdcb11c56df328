"""Errors under their names from before 0.1.0."""

from __future__ import annotations

import pytest

from accel import errors


def test_the_old_name_of_an_error_hands_on_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"accel\.errors\.Taken is now accel\.errors\.RunDirectoryTaken"):
        assert errors.RunDirectoryTaken is errors.RunDirectoryTaken


def test_a_name_that_no_error_has_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Gone'"):
        _ = errors.Gone
