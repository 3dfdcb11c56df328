"""Measurements on a run that is set up: each is made on trial, and leaves the run as it was."""

__all__: list[str] = []
