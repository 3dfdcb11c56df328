"""Record of the code that a run was given, kept in its identity, and what has changed since."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accel.checkpoints.code.git_revision import git_revision
from accel.system.shell_quoting import quote

__all__ = ["CODE", "GIT", "changed_code", "code_record"]

CODE, GIT = "code", "git"
"""Keys in the identity."""


def code_record(digests: Mapping[str, str], folder: Path | None) -> dict[str, Any]:
    """Return the entries of the identity: the digests under `code`, with the Python that they were made with, and `git`.

    Args:
        digests: the result of `code_digests`.
        folder: the folder whose git revision is kept; None for none.
    """
    record: dict[str, Any] = {}
    if digests:
        record[CODE] = {"python": platform.python_version().rpartition(".")[0], **digests}
    if digests and folder is not None and (git := git_revision(folder)):
        record[GIT] = git
    return record


def changed_code(was: Mapping[str, Any], now: Mapping[str, Any], allow: Sequence[str]) -> str:
    """Return which code differs between two identities, and between which revisions of git; an empty text if none does.

    Nothing is compared with a run that kept no digests, or that another Python made: its syntax trees differ.

    Args:
        was: the identity in the checkpoint.
        now: the identity of this run.
        allow: differences that are accepted (`resume.allow`).
    """
    before, after = (_entry(identity, CODE) for identity in (was, now))
    if before.get("python") != after.get("python"):
        return ""
    keys = [key for key in {**after, **before} if before.get(key) != after.get(key)]
    changed = [key for key in keys if not {CODE, f"{CODE}.{key}"} & set(allow)]
    if not changed:
        return ""
    revisions = [_shown(_entry(identity, GIT)) for identity in (was, now)]
    git = f" (git was {revisions[0]} and is {revisions[1]})" if all(revisions) and revisions[0] != revisions[1] else ""
    accepted = ",".join([*allow, *(f"{CODE}.{key}" for key in changed)])
    return (
        f"the code of {' and '.join(changed)} is not what it was{git}, and the run goes on with the code of now; "
        f"if that is meant, {quote(f'resume.allow=[{accepted}]')} says so"
    )


def _entry(identity: Mapping[str, Any], key: str) -> dict[str, Any]:
    entry = identity.get(key)
    return entry if isinstance(entry, dict) else {}


def _shown(git: Mapping[str, Any]) -> str:
    return f"{str(git['revision'])[:10]}{', edited' * bool(git.get('dirty'))}" if git.get("revision") else ""
