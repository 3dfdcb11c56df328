"""State of torch at run time: random generators, buffers, copies to the host, memory, CUDA graphs.

Batches are copied to the device by `accel.data.loaders.device_copy`.
"""

__all__ = []
