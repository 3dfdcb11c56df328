"""A folder as people have them: pictures under every suffix, beside what editors, file managers and servers leave there."""

from __future__ import annotations

import os
import tarfile
from io import BytesIO
from pathlib import Path

from PIL import Image

NAMES = {
    "cat": ("0.jpg", "1.JPEG", "2.jpe", "3.JFIF", "4.png", "more/5.Bmp", "more/deep/6.gif", "7.webp"),
    "dog": (
        "0.tif",
        "1.TIFF",
        "2.ppm",
        "3.pgm",
        "4.pbm",
        "5.pnm",
        "__6.png",
        "more.jpg/7.dib",
        "a-b/8.jp2",
        "a.b.jpg",
        "__9__.jpg",
    ),
}
"""Pictures by class; `more.jpg` is a folder."""
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".bmp": "BMP", ".dib": "BMP", ".jp2": "JPEG2000",
           ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM", ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM"}  # fmt: skip
HIDDEN = (
    ".ipynb_checkpoints/0-checkpoint.jpg", "__MACOSX/cat/._0.jpg", "@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg", ".x/y.jpg", ".hidden.jpg",
    "cat/.ipynb_checkpoints/0.jpg", "cat/@eaDir/0.jpg/thumb.jpg", "cat/._0.jpg", "cat/.DS_Store", "cat/more/.git/1.png",
    "dog/Thumbs.db", "dog/lost+found/1.jpg", "dog/more.jpg/__macosx/1.jpg", "dog/#recycle/2.jpg", "dog/Desktop.ini",
)  # fmt: skip
OTHERS = ("cat/readme.txt", "cat/more/0.jpg.part", "dog/labels.csv", "dog/LICENSE", "dog/0.heic")


def encoded(suffix: str, shade: int = 90, size: tuple[int, int] = (12, 10)) -> bytes:
    """A grey picture of the format that a suffix names."""
    stream = BytesIO()
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    picture = Image.new("RGB", size, (shade, shade, shade)).convert(mode)
    picture.save(stream, FORMATS.get(suffix, suffix[1:].upper()))
    return stream.getvalue()


def write_odd_folder(folder: Path) -> list[str]:
    """Write pictures, hidden files and others into the class folders of `folder`; return the keys of the pictures, in order."""
    keys = [f"{name}/{file}" for name, files in NAMES.items() for file in files]
    for number, key in enumerate(keys):
        place = folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(place.suffix.lower(), 20 + number))
    for key in (*HIDDEN, *OTHERS):
        place = folder / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(encoded(".png"))
    return [key for name in NAMES for key in sorted(key for key in keys if key.startswith(f"{name}/"))]


def tar_folder(folder: Path, path: Path, **settings: int) -> Path:
    """Write the content of a folder as a tar, as `tar -C folder -cf path .` does; hard links are kept as links."""
    with tarfile.open(path, "w", **settings) as tar:  # type: ignore[call-overload]
        tar.add(folder, ".")
    return path


def open_files() -> int:
    """Return how many descriptors this process holds."""
    return len(os.listdir("/proc/self/fd"))
