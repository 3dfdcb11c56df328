"""The kernels of the fused optimisers: torch's, once they have been seen to be right, or plain tensor operations."""

__all__ = []
