"""Jobs for Slurm, through submitit."""

__all__ = []
