"""Documents of a local file: paragraphs or lines of a text, or rows of a table with a text and a label each."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from accel.errors import ConfigError, nearest
from accel.tasks.language.saved_dataset import is_saved_dataset, read_saved_dataset

__all__ = ["HELD_OUT", "Documents", "Unit", "read_splits"]

HELD_OUT = 10
"""Documents per document that is held out for evaluation, where no file is named for it."""
TABLES = (".jsonl", ".csv", ".tsv")
Unit = Literal["paragraph", "line", "file"]


@dataclass
class Documents:
    """Texts, and what is said of each."""

    texts: Sequence[str]
    labels: Sequence[Any] | None = None
    """A label of each: a number, a name, or another text; None where none is asked for."""
    is_table: bool = True
    """Whether they are rows of a table, whose order means nothing, and not parts of one text."""

    def __len__(self) -> int:
        return len(self.texts)

    def chosen(self, places: Sequence[int]) -> Documents:
        """Return the documents of some places."""
        labels = None if self.labels is None else [self.labels[place] for place in places]
        return Documents([self.texts[place] for place in places], labels, self.is_table)


def read_splits(path: Path, held_out: Path | None, unit: Unit, text: str, label: str | None) -> dict[str, Documents]:
    """Return the documents to train on, `train`, and those to evaluate on, `val`.

    Without a file for evaluation a tenth of the documents is held out: of a table drawn at random, the same ones in every run; of a
    text the last ones, or its last tenth where it has less than ten.

    Args:
        path: a file, or a folder that `datasets` saved, whose split validation or test is evaluated on if it has one.
        held_out: the same for evaluation; None to hold out a tenth.
        unit: what a document of a plain text is.
        text: the field of the texts in a table.
        label: the field of the labels; None without any.

    Raises:
        ConfigError: if a file cannot be read, or has not enough in it.
    """
    parts = _read("task.path", path, unit, text, label)
    if held_out is not None:
        other = _read("task.held_out", held_out, unit, text, label)
        return {"train": parts["train"], "val": next(iter(other.values()))}
    if "val" in parts:
        return parts
    whole = parts["train"]
    if not whole.is_table and len(whole) < HELD_OUT:
        border = len(joined := "\n\n".join(whole.texts)) - len(joined) // HELD_OUT
        halves = {"train": Documents([joined[:border]], None, False), "val": Documents([joined[border:]], None, False)}
        if not halves["val"].texts[0].strip():
            raise ConfigError(
                f"task.path={path} is too short for a tenth to be held out; take a longer file, or name task.held_out=FILE"
            )
        return halves
    if len(whole) < 2:
        raise ConfigError(
            f"task.path={path} has {len(whole)} row, and one is held out; take a longer file, or name task.held_out=FILE"
        )
    count = max(1, len(whole) // HELD_OUT)
    order = np.random.default_rng(0).permutation(len(whole)).tolist() if whole.is_table else list(range(len(whole)))
    return {"train": whole.chosen(sorted(order[:-count])), "val": whole.chosen(sorted(order[-count:]))}


def _read(setting: str, path: Path, unit: Unit, text: str, label: str | None) -> dict[str, Documents]:
    """Return the documents of a file or folder as `train`, and `val` where the folder has such a split."""
    origin = f"{setting}={path}"
    if path.is_dir():
        if not is_saved_dataset(path):
            raise ConfigError(f"{origin} is a folder that save_to_disk of datasets did not write; name a file, or such a folder")
        return {
            name: _of_columns(f"{origin} ({name})", rows, text, label) for name, rows in read_saved_dataset(path, setting).items()
        }
    if not path.is_file():
        raise ConfigError(f"{origin}: there is no such file")
    suffix = path.suffix.lower()
    if suffix == ".json":
        raise ConfigError(f"{origin}: rows are read of .jsonl, an object a line; write it so, or as .csv")
    if suffix not in TABLES:
        if label is not None:
            raise ConfigError(
                f"{origin} has no labels: a text is read line by line; take a .jsonl, .csv or .tsv, or a folder of datasets"
            )
        return {"train": Documents(_units(_content(origin, path), unit), None, False)}
    rows = _json_rows(origin, path) if suffix == ".jsonl" else _csv_rows(origin, path, "\t" if suffix == ".tsv" else ",")
    texts: list[Any] = []
    labels: list[Any] = []
    for place, row in rows:
        texts.append(_field(place, row, text, "text"))
        if label is not None:
            labels.append(_field(place, row, label, "label"))
    if not texts:
        raise ConfigError(f"{origin} has no rows")
    return {"train": _checked(origin, Documents(texts, None if label is None else labels))}


def _content(origin: str, path: Path) -> str:
    """Return the text of a file. Raise ConfigError if it cannot be read, is no UTF-8, or is empty."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{origin} is no text in UTF-8 (byte {error.start:,}); convert it, as with iconv") from None
    except OSError as error:
        raise ConfigError(f"{origin} cannot be read: {error.strerror}") from None
    if not content.strip():
        raise ConfigError(f"{origin} is empty")
    return content.replace("\r\n", "\n")


def _units(content: str, unit: Unit) -> list[str]:
    """Return the documents of a text, without empty ones."""
    parts = [content] if unit == "file" else content.split("\n") if unit == "line" else re.split(r"\n(?:[ \t]*\n)+", content)
    return [part for part in (part.strip("\n") for part in parts) if part.strip()]


def _json_rows(origin: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each object of a file of JSON lines, with its place in words."""
    for number, line in enumerate(_content(origin, path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise ConfigError(f"{origin}, line {number}: that is no object of JSON, as a line of .jsonl is")
        yield f"{origin}, line {number}", row


def _csv_rows(origin: str, path: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each row of a table with a header, with its place in words."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(StringIO(_content(origin, path), newline=""), delimiter=delimiter)  # lines end where csv says
    try:
        for row in reader:
            yield f"{origin}, line {reader.line_num}", row
    except csv.Error as error:
        raise ConfigError(f"{origin}, line {reader.line_num}: {error}") from None


def _field(place: str, row: Mapping[str, Any], name: str, setting: str) -> Any:
    """Return a field of a row. Raise ConfigError if it has none of that name, or nothing in it."""
    if name not in row:
        names = [key for key in row if isinstance(key, str)]
        hint = nearest(name, names) or f"; it has {', '.join(names[:8])}"
        raise ConfigError(f"{place} has no field {name!r}{hint}; task.{setting}=NAME says which it is")
    if row[name] is None:
        raise ConfigError(f"{place} has nothing for {name!r}")
    return row[name]


def _of_columns(origin: str, rows: Any, text: str, label: str | None) -> Documents:
    """Return the documents of a split of `datasets`."""
    columns = {"text": text} | ({} if label is None else {"label": label})
    for setting, name in columns.items():
        if name not in rows.column_names:
            hint = nearest(name, rows.column_names) or f"; it has {', '.join(rows.column_names[:8])}"
            raise ConfigError(f"{origin} has no column {name!r}{hint}; task.{setting}=NAME says which it is")
    labels = None
    if label is not None:
        names = getattr(rows.features[label], "names", None)
        labels = [names[number] if names else number for number in rows[label]]
    return _checked(origin, Documents(list(rows[text]), labels))


def _checked(origin: str, documents: Documents) -> Documents:
    """Return documents. Raise ConfigError if a text is none."""
    odd = next((number for number, text in enumerate(documents.texts) if not isinstance(text, str)), None)
    if odd is not None:
        raise ConfigError(
            f"{origin}: the text of row {odd + 1} is a {type(documents.texts[odd]).__name__}; task.text=NAME says where the text is"
        )
    return documents
