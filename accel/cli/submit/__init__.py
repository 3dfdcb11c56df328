"""Submission: checked jobs are handed to submitit, for Slurm or for processes of this machine."""

__all__ = []
