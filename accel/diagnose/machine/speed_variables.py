"""Environment variables that change how fast a run is."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["NAMES", "PREFIXES", "TORCHS_OWN", "is_on", "speed_variables"]

PREFIXES = ("OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "MALLOC_", "NCCL_", "GLOO_", "TORCHINDUCTOR_")
NAMES = (
    "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_MODULE_LOADING", "CUBLAS_WORKSPACE_CONFIG",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING", "TORCH_LOGS", "TORCH_NCCL_BLOCKING_WAIT",
    "TORCH_DISTRIBUTED_DEBUG", "NVIDIA_TF32_OVERRIDE", "LD_PRELOAD", "GLIBC_TUNABLES", "PYTHONDEVMODE", "PYTHONMALLOC",
    "TOKENIZERS_PARALLELISM", "TORCH_COMPILE_DISABLE",
)  # fmt: skip

TORCHS_OWN = ("TORCHINDUCTOR_CACHE_DIR",)
"""Names of variables that torch sets itself when its compiler is imported, and that change no speed."""


def speed_variables(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that are set and change speed, by name, sorted."""
    names = (name for name in sorted(environ) if name not in TORCHS_OWN)
    return {name: environ[name] for name in names if name in NAMES or name.startswith(PREFIXES)}


def is_on(variables: Mapping[str, str], name: str) -> bool:
    """Return whether a switch is set to something else than 0, as CUDA and Python read theirs."""
    return variables.get(name, "0") not in ("", "0")
