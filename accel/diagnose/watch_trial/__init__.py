"""Watches on trial, in a copy of this process that can write nothing and is thrown away."""

__all__: list[str] = []
