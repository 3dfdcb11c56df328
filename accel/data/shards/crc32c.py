"""CRC-32C, the Castagnoli checksum of TFRecord files, by google-crc32c.

Source: RFC 3720, B.4; masking as in TensorFlow's record_writer.cc.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from accel.system.machine import required

__all__ = ["crc32c", "masked"]


@cache
def crc32c() -> Callable[[bytes], int]:
    """Return the function that computes the checksum of bytes.

    >>> hex(crc32c()(b"123456789"))
    '0xe3069283'

    Raises:
        ConfigError: If google-crc32c is not installed.
    """
    with required("TFRecord files need google-crc32c, which checks them", "tfrecord"):
        import google_crc32c
    value: Callable[[bytes], int] = google_crc32c.value
    return value


def masked(crc: int) -> int:
    """Return a checksum as it stands in a TFRecord file: rotated by 15 bits, and a constant added."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
