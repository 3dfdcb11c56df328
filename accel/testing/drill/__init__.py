"""Drills: runs that are killed, stopped or damaged at random, and must end as if nothing had happened."""

__all__ = []
