"""Random numbers that data draws from generators that others draw from too: a function of (seed, epoch, index)."""

__all__ = []
