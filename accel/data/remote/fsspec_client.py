"""Client of files at URLs, through fsspec: listings, facts and bytes, with retries."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import sleep
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

from accel.errors import ConfigError, TrainingError
from accel.system.machine import required

__all__ = [
    "MISSING_ERRORS",
    "PACKAGES",
    "TAGS",
    "TRIES",
    "WAIT",
    "Answer",
    "FileInfo",
    "file_info",
    "glob_urls",
    "is_url",
    "list_names",
    "read_range",
    "walk",
    "with_retries",
]

Answer = TypeVar("Answer")
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "http": "aiohttp",
            "https": "aiohttp", "hf": "huggingface_hub", "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol"}  # fmt: skip
"""Packages that fsspec needs, by protocol."""
TAGS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "checksum", "crc32c"),
    *("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created"),
)
"""Facts that tell that a file was changed: the first that its file system knows is its tag."""
MISSING_ERRORS = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
TRIES = 5
WAIT = 0.5
"""Seconds before the second try; twice as many before each further one."""


class FileInfo(NamedTuple):
    """Facts of a file, known without reading it.

    Args:
        url: URL of the file.
        size: Bytes of the file; -1 if its server does not say.
        tag: Version of the file, which changes when the file does; empty if its server does not say.
    """

    url: str
    size: int
    tag: str


def is_url(text: str) -> bool:
    """Return whether a text is a URL, such as `s3://bucket/data`, and no path."""
    return re.match(r"[a-z][a-z0-9+.-]*(::|://)", text) is not None


def file_info(url: str, tries: int = TRIES) -> FileInfo:
    """Return the facts of one file. Errors are those of `with_retries`."""
    return _info(url, with_retries(url, lambda system, path: system.info(path), tries))


def walk(url: str, tries: int = TRIES) -> dict[str, FileInfo]:
    """Return every file anywhere under a folder, by its path there with `/`. Errors are those of `with_retries`."""
    root, files, system = with_retries(
        url, lambda system, path: (system._strip_protocol(path), system.find(path, detail=True), system), tries
    )
    root = root.rstrip("/") + "/"
    return {
        unquote(name[len(root) :]) if "http" in url.partition(":")[0] else name[len(root) :]: _info(_url(system, name), facts)
        for name, facts in sorted(files.items())
        if name.startswith(root)
    }


def list_names(url: str, tries: int = TRIES) -> list[str]:
    """Return the names in a folder, sorted, those of folders with `/` at the end; [] if there is no such folder."""
    try:
        entries = with_retries(url, lambda system, path: system.ls(path, detail=True), tries)
    except ConfigError as error:
        if isinstance(error.__cause__, MISSING_ERRORS):
            return []
        raise
    return sorted(
        entry["name"].rstrip("/").rpartition("/")[2] + "/" * (entry.get("type") == "directory" or entry["name"].endswith("/"))
        for entry in entries
    )


def glob_urls(pattern: str, tries: int = TRIES) -> list[str]:
    """Return the URLs of the files that a pattern with `*` and `?` names, sorted."""
    names, system = with_retries(pattern, lambda system, path: (system.glob(path), system), tries)
    return sorted(_url(system, name) for name in names)


def read_range(url: str, start: int, end: int | None, tries: int = TRIES) -> bytes:
    """Return the bytes from `start` to before `end`, or to the last one if `end` is None; all if the server knows no ranges."""
    bounds = {} if end is None else {"start": start, "end": end}
    content: bytes = with_retries(url, lambda system, path: system.cat_file(path, **bounds), tries)
    return content


def with_retries(url: str, ask: Callable[[Any, str], Answer], tries: int = TRIES) -> Answer:
    """Return the answer of `ask(file system, path)`, asked again if the network fails.

    Raises:
        ConfigError: If the URL names nothing, may not be read, or needs a package that is not installed.
        TrainingError: If the network failed `tries` times.
    """
    for number in range(tries):
        try:
            return ask(*_file_system(url))
        except ConfigError:
            raise
        except Exception as error:  # each file system has errors of its own
            status = getattr(error.__cause__ or error, "status", None)  # over HTTP every failure is called a lacking file
            if status in (401, 403) or isinstance(error, PermissionError):
                raise ConfigError(f"{url} may not be read: {_reason(error)}; set the credentials that it asks for") from error
            http = url.startswith(("http:", "https:")) and error.__cause__ is not None
            if status in (404, 410) or (isinstance(error, MISSING_ERRORS) and not http):
                raise ConfigError(f"{url}: there is no such file or folder") from error
            error = error.__cause__ if http and isinstance(error.__cause__, Exception) else error
            if number + 1 == tries:
                raise TrainingError(
                    f"{url} could not be read, in {tries} tries: {_reason(error)}; "
                    "see whether the network is there, and start again: what was fetched is kept"
                ) from error
            sleep(WAIT * 2**number)
    raise AssertionError(f"{tries} tries")


def _file_system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, which fsspec keeps for each process, and the path there."""
    protocol = url.partition(":")[0]
    with required(f"{url}: reading from URLs needs fsspec", "remote"):
        import fsspec
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError:
        package = PACKAGES.get(protocol, protocol)
        raise ConfigError(f"{url}: {protocol}:// needs the package {package}: pip install {package}") from None
    except ValueError as error:
        raise ConfigError(f"{url}: {error}; write a URL such as s3://bucket/data, https://host/data or a path") from None
    return system, path


def _url(system: Any, name: str) -> str:
    """Return the URL of a name that a file system listed."""
    return name if is_url(name) else str(system.unstrip_protocol(name))


def _info(url: str, facts: dict[str, Any]) -> FileInfo:
    """Return the facts of a file, from those that its file system knows."""
    if facts.get("type") == "directory":
        raise ConfigError(f"{url}: that is a folder; name a file")
    tag = next((str(facts[name]) for name in TAGS if facts.get(name)), "")
    return FileInfo(url, -1 if facts.get("size") is None else int(facts["size"]), tag)


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, or the error's name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
