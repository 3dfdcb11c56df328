"""Tab completion: the scripts for each shell, and the candidates, found without importing torch or Hydra."""

__all__ = []
