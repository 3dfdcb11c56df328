"""One run: built, planned, evaluated, stopped, finished, resumed. The loop itself is `accel.trainer`."""

__all__ = []
