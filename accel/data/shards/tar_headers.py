"""Headers of tar files, and the members that they name.

Source: POSIX.1-2001, pax and ustar formats; GNU tar's long names, sizes and sparse files (tar.h).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from accel.data.picture_names import PassedOver
from accel.data.shards.range_reader import BufferedReader, RandomAccessFile
from accel.errors import ConfigError

__all__ = ["BLOCK", "COMPRESSIONS", "MAX_EXTENDED", "MAX_GAP", "Entry", "entries", "refuse_compressed"]

BLOCK = 512
COMPRESSIONS = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZ": ("bzip2", "bunzip2"),
    b"\xfd7": ("xz", "unxz"),
    b"\x28\xb5": ("zstd", "unzstd"),
}
"""First bytes of compressed files: the program that made them, and the program that unpacks them."""
MAX_EXTENDED = 1 << 20
"""Bytes of an extended header, at most."""
MAX_GAP = 1 << 26
"""Bytes of zeros between two archives in one file, at most."""
KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "link", b"5": "folder", b"S": "sparse file",
         b"3": "device", b"4": "device", b"6": "pipe"}  # fmt: skip
"""Kinds of members by the byte in the header. All others are no files."""


class Entry(NamedTuple):
    """Member of a tar.

    Args:
        name: Path in the tar.
        offset: Offset of its content in the tar, in bytes.
        size: Bytes of its content.
        kind: file, hard link, link, folder, sparse file, device or pipe.
        target: Path that a link leads to.
        archive: Number of the archive in the file, if several were put one behind the other.
    """

    name: str
    offset: int
    size: int
    kind: str = "file"
    target: str = ""
    archive: int = 0


class Extended(NamedTuple):
    """What extended headers say of the member behind them; "" and -1 where they do not."""

    path: str = ""
    target: str = ""
    size: int = -1
    sparse: bool = False


def entries(file: RandomAccessFile, passed_over: PassedOver) -> Iterator[Entry]:
    """Yield the members of a tar, in their order, without reading their content.

    A file may be several tars, one behind the other: `cat a.tar b.tar`.

    Args:
        file: The tar.
        passed_over: Receives the bytes behind its end that are no tar.

    Raises:
        ConfigError: If the tar is compressed, damaged or cut short.
    """
    refuse_compressed(file)
    reader, offset, last, archive = BufferedReader(file, BLOCK), 0, "", 0
    extended = Extended()
    while True:
        header = reader.read(offset, BLOCK)
        after = f"after the member {last}" if last else "at its beginning"
        if len(header) < BLOCK:
            raise ConfigError(f"{file.name} is cut short {after}: it has no end; make or copy it again")
        if not any(header):
            offset, archive = _next_archive(file, offset, passed_over), archive + 1
            if offset < 0:
                return
            continue
        if not _is_header(header):
            raise ConfigError(f"{file.name} is damaged {after}, at byte {offset:,}; or it is no tar file; make or copy it again")
        code, name = header[156:157], extended.path or _name(header)
        start, size = _content(reader, header, offset, extended)
        if start + size > file.size:
            raise ConfigError(f"{file.name} is cut short: its member {name} ends at byte {start + size:,} of {file.size:,}")
        if code in b"xXLKg":
            if size > MAX_EXTENDED:
                raise ConfigError(f"{file.name} is damaged {after}: a header of {size:,} bytes; make or copy it again")
            extended = _extend(extended, code, reader.read(start, size))
        else:
            last = name
            if kind := _kind(code, name, size, extended):
                target = extended.target or _text(header[157:257])
                yield Entry(name.removeprefix("./"), start, size, kind, target, archive)
            extended = Extended()
        offset = start + -(-size // BLOCK) * BLOCK


def _content(reader: BufferedReader, header: bytes, offset: int, extended: Extended) -> tuple[int, int]:
    """Return where the content of a member begins whose header stands at `offset`, and how many bytes of it are stored."""
    code, start = header[156:157], offset + BLOCK
    size = extended.size if extended.size >= 0 else _number(header[124:136])
    if code == b"S":
        start = _behind_sparse_map(reader, header, start)
    return start, _stored_size(reader, code, start, size)


def refuse_compressed(file: RandomAccessFile) -> None:
    """Raise ConfigError if a file is compressed as a whole."""
    programs = COMPRESSIONS.get(file.read(0, min(2, file.size)))
    if programs is not None:
        raise ConfigError(
            f"{file.name} is compressed by {programs[0]}, and nothing in it can be read but by unpacking all before it; "
            f"unpack it once: {programs[1]} {file.name.rpartition('/')[2]}"
        )


def _next_archive(file: RandomAccessFile, offset: int, passed_over: PassedOver) -> int:
    """Return the offset of the header behind the zeros at `offset`; -1 if there is none, and count what else is there."""
    end = min(file.size, offset + MAX_GAP)
    while offset < end:
        piece = file.read(offset, min(1 << 16, file.size - offset))
        zeros = len(piece) - len(piece.lstrip(b"\0"))
        offset += zeros // BLOCK * BLOCK
        if zeros < len(piece):
            header = file.read(offset, min(BLOCK, file.size - offset))
            if len(header) == BLOCK and _is_header(header):
                return offset
            break
        if zeros < BLOCK:  # the last of them fill no block
            return -1
    if offset < file.size:
        passed_over.add("bytes behind the end of a tar", file.name.rpartition("/")[2], file.size - offset)
    return -1


def _is_header(block: bytes) -> bool:
    """Return whether a block is a header: its sum is the one that it names."""
    return _number(block[148:156]) == sum(block[:148]) + 256 + sum(block[156:])


def _behind_sparse_map(reader: BufferedReader, header: bytes, start: int) -> int:
    """Return the offset behind the further blocks of the map of GNU's sparse file."""
    more = header[482:483]
    while more not in (b"\0", b""):
        more, start = reader.read(start, BLOCK)[504:505], start + BLOCK
    return start


def _stored_size(reader: BufferedReader, code: bytes, start: int, size: int) -> int:
    """Return the bytes that stand behind a header. Some tools name a size of a link whose content is elsewhere, others store it."""
    if code in b"3456":
        return 0
    if code not in b"12" or not size:
        return size
    behind = reader.read(start, BLOCK)
    return 0 if not any(behind) or _is_header(behind) else size


def _kind(code: bytes, name: str, size: int, extended: Extended) -> str:
    """Return the kind of a member; "" for what is no file."""
    kind = KINDS.get(code, "")
    if kind == "file" and extended.sparse:
        return "sparse file"
    if kind == "file" and name.endswith("/"):  # of old tars
        return "folder"
    return "file" if kind == "hard link" and size else kind


def _number(field: bytes) -> int:
    """Return the number in a field: octal digits, or GNU's binary form; 0 if it is empty, -1 if it is none."""
    if field[0] & 0x80:  # too large for octal digits
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0 if not digits else -1


def _text(field: bytes) -> str:
    """Return the text of a field, which a zero byte ends."""
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _name(header: bytes) -> str:
    """Return the path in a header, with the prefix of the ustar format."""
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
    return f"{prefix}{'/' * bool(prefix)}{_text(header[:100])}"


def _extend(extended: Extended, code: bytes, content: bytes) -> Extended:
    """Return what extended headers say, with one more of them."""
    if code == b"L":
        return extended._replace(path=_text(content))
    if code == b"K":
        return extended._replace(target=_text(content))
    at = 0
    while code in b"xX" and at < len(content):
        digits = content[at : at + 20].partition(b" ")[0]
        if not digits.isdigit() or not int(digits):
            break
        key, _, value = content[at + len(digits) + 1 : at + int(digits) - 1].partition(b"=")
        if key in (b"path", b"GNU.sparse.name"):
            extended = extended._replace(path=value.decode(errors="surrogateescape"))
        elif key == b"linkpath":
            extended = extended._replace(target=value.decode(errors="surrogateescape"))
        elif key == b"size" and value.isdigit() and len(value) < 20:
            extended = extended._replace(size=int(value))
        extended = extended._replace(sparse=extended.sparse or key.startswith(b"GNU.sparse."))
        at += int(digits)
    return extended
