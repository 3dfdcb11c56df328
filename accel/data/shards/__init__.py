"""Shards: a data set in several files that other tools write, tar or TFRecord, read at random through an index."""

__all__ = []
