"""Jobs for Slurm, through submitit."""
