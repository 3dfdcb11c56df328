"""Documents of local files: what is a document, which are held out, and what is refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accel.errors import ConfigError
from accel.tasks.language.documents import Documents, read_splits

TEXT = "\ufeffone\r\ntwo\r\n\r\n \t\r\nthree\n\n\n\nfour\n"


def splits(
    path: Path, unit: Any = "paragraph", label: str | None = None, held_out: Path | None = None, text: str = "text"
) -> dict[str, Documents]:
    return read_splits(path, held_out, unit, text, label)


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("paragraph", ["one\ntwo", "three", "four"]),
        ("line", ["one", "two", "three", "four"]),
        ("file", ["one\ntwo\n\n \t\nthree\n\n\n\nfour"]),
    ],
)
def test_a_text_is_divided(tmp_path: Path, unit: str, expected: list[str]) -> None:
    other = write(tmp_path, "other.txt", "five\n")
    parts = splits(write(tmp_path, "a.txt", TEXT), unit, held_out=other)
    assert list(parts["train"].texts) == expected
    assert list(parts["val"].texts) == ["five"]


def test_the_last_documents_of_a_text_are_held_out(tmp_path: Path) -> None:
    parts = splits(write(tmp_path, "a.txt", "\n\n".join(map(str, range(25)))))
    assert list(parts["train"].texts) == [str(number) for number in range(23)]
    assert list(parts["val"].texts) == ["23", "24"]
    whole = splits(write(tmp_path, "b.txt", "abcdefghij" * 10), "file")
    assert [len(whole[name].texts[0]) for name in ("train", "val")] == [90, 10]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"text": f"text, {number}\nof two lines", "label": "good" if number % 2 else "bad"} for number in range(count)]


def test_tables_of_every_kind_are_the_same(tmp_path: Path) -> None:
    lines = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows(40))) + "\n\n")
    comma = write(tmp_path, "a.csv", "text,label\r\n" + "".join(f'"{row["text"]}",{row["label"]}\r\n' for row in rows(40)))
    tab = write(tmp_path, "a.TSV", "label\ttext\n" + "".join(f'{row["label"]}\t"{row["text"]}"\n' for row in rows(40)))
    one, two, three = (splits(path, label="label") for path in (lines, comma, tab))
    assert one == two == three
    assert (len(one["train"]), len(one["val"])) == (36, 4)
    assert sorted([*one["train"].texts, *one["val"].texts]) == sorted(row["text"] for row in rows(40))
    assert one["train"].labels is not None
    by_text = {row["text"]: row["label"] for row in rows(40)}
    assert [by_text[text] for text in one["train"].texts] == list(one["train"].labels)
    assert list(one["val"].texts) != [row["text"] for row in rows(40)[-4:]], (
        "rows that are sorted by their label are no fair sample"
    )


WRONG: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "no file": ("", "", {}, "there is no such file"),
    "empty": ("a.txt", " \n", {}, "is empty"),
    "no text": ("a.txt", "\udcff", {}, r"is no text in UTF-8 \(byte 0\); convert it"),
    "short": ("a.txt", "a", {}, "has 1 row|too short for a tenth"),
    "json": ("a.json", "[]", {}, "rows are read of .jsonl, an object a line"),
    "labels of a text": ("a.txt", "a\n\nb", {"label": "label"}, "has no labels: .* take a .jsonl"),
    "no object": ("a.jsonl", '{"text": "a"}\n3\n', {}, "line 2: that is no object of JSON"),
    "cut": ("a.jsonl", '{"text": "a"}\n{"text": \n', {}, "line 2: that is no object of JSON"),
    "mistyped": ("a.jsonl", '{"txt": "a"}\n', {}, r"line 1 has no field 'text'; did you mean 'txt'\?; task.text=NAME"),
    "other": ("a.csv", "body,y\nb,1\n", {}, "has no field 'text'; it has body, y; task.text=NAME"),
    "no label": ("a.csv", "text,y\nb,1\n", {"label": "label"}, "has no field 'label'; it has text, y; task.label=NAME"),
    "short row": ("a.csv", "label,text\n1,b\n2\n", {"label": "label"}, "line 3 has nothing for 'text'"),
    "no rows": ("a.csv", "text,label\n", {}, "has no rows"),
    "one row": ("a.csv", "text,label\na,b\n", {}, "has 1 row, and one is held out"),
    "number": ("a.jsonl", '{"text": 3}\n{"text": "a"}\n', {}, "the text of row 1 is a int; task.text=NAME"),
    "folder": (".", "", {}, "is a folder that save_to_disk of datasets did not write"),
}


@pytest.mark.parametrize(("name", "content", "settings", "sentence"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: str, settings: dict[str, Any], sentence: str) -> None:
    path = tmp_path / (name or "none.txt")
    if content:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=sentence) as refused:
        splits(path, **settings)
    assert str(refused.value).startswith("task.path=")


def test_the_file_to_evaluate_on_is_named_in_its_errors(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "a\n\nb")
    with pytest.raises(ConfigError, match=r"^task.held_out=.*there is no such file"):
        splits(path, held_out=tmp_path / "none")
