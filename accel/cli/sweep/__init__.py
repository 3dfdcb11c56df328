"""Sweeps whose next job depends on those before: a sweeper of Hydra's proposes settings, and the jobs are run here."""

__all__ = []
