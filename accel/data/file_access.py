"""Files of pictures on this machine: their content and their facts, with every failure as a sentence."""

from __future__ import annotations

import os
import stat

from accel.data.batches.bad_samples import MACHINE_ERRNOS
from accel.errors import BadSample, TrainingError

__all__ = ["MAX_FILE_BYTES", "file_kind", "file_status", "read_error", "read_file", "too_large"]

MAX_FILE_BYTES = 1 << 31
"""Bytes of the largest file that is read as a picture: twice those of the most pixels that are decoded, at 16 bits a channel."""


def read_file(file: str) -> bytes:
    """Return the content of a file, which is opened without waiting: a pipe or a device is no picture, whatever its name.

    Raises:
        BadSample: if it cannot be read, is no regular file, or is too large for a picture.
        TrainingError: if that is the machine's fault.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadSample(f"cannot read the picture {file}: it is {file_kind(status.st_mode)} and no file; take it away")
            if status.st_size > MAX_FILE_BYTES:
                raise too_large(status.st_size, file)
            content = os.read(descriptor, status.st_size + 1)
            while 0 < len(content) < status.st_size and (more := os.read(descriptor, status.st_size - len(content))):
                content += more
            return content
        finally:
            os.close(descriptor)
    except OSError as error:
        raise read_error(error, file) from None


def too_large(size: int, name: str) -> BadSample:
    """Return the error of a file that has more than `MAX_FILE_BYTES` bytes."""
    return BadSample(f"the picture {name} has {size:,} bytes, above the limit of {MAX_FILE_BYTES:,}; shrink it or take it away")


def file_kind(mode: int) -> str:
    """Return what a file of this `st_mode` is, if it is no regular file."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_error(error: OSError, file: str) -> Exception:
    """Return the error of reading a picture as a sentence: a BadSample, or a TrainingError where the machine is at fault."""
    sentence = f"cannot read the picture {file}: {error.strerror}"
    return TrainingError(sentence) if error.errno in MACHINE_ERRNOS else BadSample(f"{sentence}; mend the file or take it away")


def file_status(file: str, *fields: str) -> str:
    """Return fields of `os.stat` of a picture's file (`st_size`, ...) as text, for a fingerprint.

    Of a missing file, such as a link that leads nowhere, it is the reason: whoever reads that file decides.

    Raises:
        TrainingError: if the machine is at fault, such as too many open files.
    """
    try:
        status = os.stat(file)
    except OSError as error:
        if isinstance(reason := read_error(error, file), TrainingError):
            raise reason from None
        return str(error.strerror)
    return "\0".join(str(getattr(status, field)) for field in fields)
