"""This machine as a run finds it: processor, memory, disk of the data, torch, GPUs, and states that make it slow."""

__all__: list[str] = []
