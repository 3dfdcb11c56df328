"""Files at a URL, through fsspec: what there is, and their bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import sleep
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

from accel.errors import ConfigError, TrainingError

__all__ = [
    "MISSING",
    "PACKAGES",
    "TAGS",
    "TRIES",
    "WAIT",
    "Found",
    "Info",
    "info",
    "is_url",
    "list_names",
    "matching",
    "ranged",
    "walk",
    "with_retries",
]

Found = TypeVar("Found")
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "http": "aiohttp",
            "https": "aiohttp", "hf": "huggingface_hub", "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol"}  # fmt: skip
"""What fsspec needs for a protocol."""
TAGS = (
    *("ETag", "etag", "md5Hash", "Content-MD5", "content_md5", "checksum", "crc32c"),
    *("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created"),
)
"""By which of its facts a file is known to have been changed: the first that its file system tells."""
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
TRIES = 5
WAIT = 0.5
"""Seconds before the second try; twice as many before each further one."""


class Info(NamedTuple):
    """What is known of a file without reading it."""

    url: str
    size: int
    """Bytes; -1 where its server does not say."""
    tag: str
    """Another one when it was changed; empty where its server does not say."""


def is_url(text: str) -> bool:
    """Whether it is a URL, such as `s3://bucket/data`, and no path."""
    return re.match(r"[a-z][a-z0-9+.-]*(::|://)", text) is not None


def info(url: str, tries: int = TRIES) -> Info:
    """Of one file. Raises ConfigError where there is none, TrainingError where its server cannot be reached."""
    return _info(url, with_retries(url, lambda system, path: system.info(path), tries))


def walk(url: str, tries: int = TRIES) -> dict[str, Info]:
    """Every file anywhere under a folder, by its path there with `/`. Raises as `info` does."""
    found = with_retries(url, lambda system, path: (system._strip_protocol(path), system.find(path, detail=True), system), tries)
    home, files, system = found
    home = home.rstrip("/") + "/"
    return {
        unquote(name[len(home) :]) if "http" in url.partition(":")[0] else name[len(home) :]: _info(_url(url, system, name), facts)
        for name, facts in sorted(files.items())
        if name.startswith(home)
    }


def list_names(url: str, tries: int = TRIES) -> list[str]:
    """The names of what is in a folder, sorted; those of folders end in `/`; [] where there is no such folder."""
    try:
        found = with_retries(url, lambda system, path: system.ls(path, detail=True), tries)
    except ConfigError as error:
        if isinstance(error.__cause__, MISSING):
            return []
        raise
    return sorted(
        item["name"].rstrip("/").rpartition("/")[2] + "/" * (item.get("type") == "directory" or item["name"].endswith("/"))
        for item in found
    )


def matching(pattern: str, tries: int = TRIES) -> list[str]:
    """The URLs of the files that a pattern with `*` and `?` names, sorted."""
    names, system = with_retries(pattern, lambda system, path: (system.glob(path), system), tries)
    return sorted(_url(pattern, system, name) for name in names)


def ranged(url: str, start: int, end: int | None, tries: int = TRIES) -> bytes:
    """The bytes from `start` to before `end`, or to the last one where that is None; more where the server knows no ranges."""
    part = {} if end is None else {"start": start, "end": end}
    found: bytes = with_retries(url, lambda system, path: system.cat_file(path, **part), tries)
    return found


def with_retries(url: str, ask: Callable[[Any, str], Found], tries: int = TRIES) -> Found:
    """What `ask(file system, path)` gives; tried again where the network fails.

    Raises:
        ConfigError: where the URL names nothing, may not be read, or needs a package that is not installed.
        TrainingError: where it failed `tries` times.
    """
    for number in range(tries):
        try:
            return ask(*_opened(url))
        except ConfigError:
            raise
        except Exception as error:  # each file system has errors of its own
            status = getattr(error.__cause__ or error, "status", None)  # over HTTP every failure is called a lacking file
            if status in (401, 403) or isinstance(error, PermissionError):
                raise ConfigError(f"{url} may not be read: {_why(error)}; set the credentials that it asks for") from error
            http = url.startswith(("http:", "https:")) and error.__cause__ is not None
            if status in (404, 410) or (isinstance(error, MISSING) and not http):
                raise ConfigError(f"{url}: there is no such file or folder") from error
            error = error.__cause__ if http and isinstance(error.__cause__, Exception) else error
            if number + 1 == tries:
                raise TrainingError(
                    f"{url} could not be read, in {tries} tries: {_why(error)}; "
                    "see whether the network is there, and start again: what was fetched is kept"
                ) from error
            sleep(WAIT * 2**number)
    raise AssertionError(f"{tries} tries")


def _opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, which fsspec keeps for each process, and the path there."""
    protocol = url.partition(":")[0]
    try:
        import fsspec
    except ModuleNotFoundError:
        raise ConfigError(f"{url}: reading from URLs needs fsspec: pip install 'accel-train[remote]'") from None
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError:
        raise ConfigError(f"{url}: {protocol}:// needs the package {PACKAGES.get(protocol, protocol)}: "
                          f"pip install {PACKAGES.get(protocol, protocol)}") from None  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"{url}: {error}; write a URL such as s3://bucket/data, https://host/data or a path") from None
    return system, path


def _url(like: str, system: Any, name: str) -> str:
    return name if is_url(name) else str(system.unstrip_protocol(name))


def _info(url: str, facts: dict[str, Any]) -> Info:
    if facts.get("type") == "directory":
        raise ConfigError(f"{url}: that is a folder; name a file")
    tag = next((str(facts[name]) for name in TAGS if facts.get(name)), "")
    return Info(url, -1 if facts.get("size") is None else int(facts["size"]), tag)


def _why(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
