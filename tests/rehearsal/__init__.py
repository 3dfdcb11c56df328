"""A rehearsal on CUDA without a GPU: the CUDA build of torch runs on stand-ins for NVIDIA's libraries (docs/internals/gpu.md).

python -m tests.rehearsal COMMAND...
"""
