"""Exported files as they are run: loaded anew by their own engine, in a process of its own."""

__all__: list[str] = []
