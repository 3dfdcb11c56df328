"""Headers of tar files, and the members that they name.

Source: POSIX.1-2001, pax and ustar formats; GNU tar's long names and sizes (tar.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from accel.data.shards.range_reader import BufferedReader, RandomAccessFile
from accel.errors import ConfigError

__all__ = ["BLOCK", "COMPRESSIONS", "Member", "members", "refuse_compressed"]

BLOCK = 512
COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZ": ("bzip2", "bunzip2"),
    b"\xfd7": ("xz", "unxz"),
    b"\x28\xb5": ("zstd", "unzstd"),
}
"""First bytes of compressed files: the program that made them, and the program that unpacks them."""


class Member(NamedTuple):
    """Regular file in a tar.

    Args:
        name: Path in the tar.
        offset: Offset of its content in the tar, in bytes.
        size: Bytes of its content.
    """

    name: str
    offset: int
    size: int


def members(file: RandomAccessFile) -> Iterator[Member]:
    """Yield the regular files in a tar, in their order, without reading their content.

    Raises:
        ConfigError: If the tar is compressed, damaged or cut short.
    """
    refuse_compressed(file)
    reader, offset, last = BufferedReader(file, BLOCK), 0, ""
    path, length = "", -1  # given by the header before
    while True:
        header = reader.read(offset, BLOCK)
        after = f"after the member {last}" if last else "at its beginning"
        if len(header) < BLOCK:
            raise ConfigError(f"{file.name} is cut short {after}: it has no end; make or copy it again")
        if not any(header):
            return
        if _number(header[148:156]) != sum(header[:148]) + 256 + sum(header[156:]):
            raise ConfigError(f"{file.name} is damaged {after}, at byte {offset:,}; or it is no tar file; make or copy it again")
        size = length if length >= 0 else _number(header[124:136])
        kind, start = header[156:157], offset + BLOCK
        name = path or _name(header)
        if start + size > file.size and kind in b"0\0007xgLK":
            raise ConfigError(f"{file.name} is cut short: its member {name} ends at byte {start + size:,} of {file.size:,}")
        if kind == b"x":
            path, length = _extended(reader.read(start, size))
        elif kind == b"L":
            path = reader.read(start, size).rstrip(b"\0").decode(errors="surrogateescape")
        elif kind not in (b"g", b"K"):
            last = name
            if kind in (b"0", b"\0", b"7") and not name.endswith("/"):
                yield Member(name.removeprefix("./"), start, size)
            elif kind == b"S":
                raise ConfigError(f"{file.name}: the member {name} is a sparse file; make the tar without --sparse")
            path, length = "", -1
        offset = start + (-(-size // BLOCK) * BLOCK if kind in b"0\0007xgLK" else 0)


def refuse_compressed(file: RandomAccessFile) -> None:
    """Raise ConfigError if a file is compressed as a whole."""
    programs = COMPRESSIONS.get(file.read(0, min(2, file.size)))
    if programs is not None:
        raise ConfigError(
            f"{file.name} is compressed by {programs[0]}, and nothing in it can be read but by unpacking all before it; "
            f"unpack it once: {programs[1]} {file.name.rpartition('/')[2]}"
        )


def _number(field: bytes) -> int:
    """Return the number in a field: octal digits, or GNU's binary form; 0 if it is empty, -1 if it is none."""
    if field[0] & 0x80:  # too large for octal digits
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0 if not digits else -1


def _name(header: bytes) -> str:
    """Return the path in a header, with the prefix of the ustar format."""
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" * bool(prefix) + name).decode(errors="surrogateescape")


def _extended(records: bytes) -> tuple[str, int]:
    """Return path and size in bytes from the records of a pax header; "" and -1 if it gives none."""
    path, length, at = "", -1, 0
    while at < len(records):
        digits = records[at:].partition(b" ")[0]
        if not digits.isdigit() or not int(digits):
            break
        key, _, value = records[at + len(digits) + 1 : at + int(digits) - 1].partition(b"=")
        if key == b"path":
            path = value.decode(errors="surrogateescape")
        elif key == b"size" and value.isdigit():
            length = int(value)
        at += int(digits)
    return path, length
