"""State of torch at run time: random generators, buffers, copies to the host, memory, CUDA graphs."""

__all__ = []
