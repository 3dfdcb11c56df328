"""Errors of a run that is only tried out, as sentences: a change that does not go with a model is no defect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accel.errors import ConfigError, TrainingError

__all__ = ["told_failures"]


@contextmanager
def told_failures() -> Iterator[None]:
    """Turn an error of the user's code, or of torch, into a sentence.

    Raises:
        ConfigError: in place of any error that is none and no TrainingError.
    """
    try:
        yield
    except (ConfigError, TrainingError, EOFError, BrokenPipeError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"the run fails with it ({type(error).__name__}: {text[:200]})") from error
