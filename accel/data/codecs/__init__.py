"""Image codecs: from encoded bytes to the pixels of a crop, and JPEGs whose tiles can be decoded alone."""

__all__ = []
