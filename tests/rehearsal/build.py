"""Builds the stand-ins from `native/` and from the headers and symbol tables of torch's CUDA wheels, in seconds."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.rehearsal.libraries import LIBRARIES, NATIVE, Library

__all__ = ["BuildFailed", "CannotRehearse", "build", "wheels"]

CACHE = Path(os.environ.get("NULLCUDA_BUILD") or Path(__file__).parents[2] / "build" / "rehearsal")
FLAGS = ("-O2", "-g1", "-fPIC", "-std=c++17", "-fvisibility=hidden", "-Wall", "-Wno-attributes")
ERRORS = 1000
"""CUDA's error numbers lie below."""


class CannotRehearse(Exception):
    """The rehearsal is not possible here; the text is a sentence that says why."""


class BuildFailed(Exception):
    """The stand-ins cannot be built, which is a fault of theirs. The text is what the compiler printed."""


def wheels() -> Path:
    """Return the folder of NVIDIA's wheels for CUDA 13. Raise CannotRehearse if this Python has none."""
    folder = Path(sysconfig.get_path("platlib")) / "nvidia" / "cu13"
    if not (folder / "lib" / LIBRARIES[0].name).exists():
        raise CannotRehearse("torch here is no CUDA 13 build for Linux, so there is nothing to rehearse with; see make rehearsal")
    for tool in ("g++", "nm"):
        if not shutil.which(tool):
            raise CannotRehearse(f"{tool} is not installed, and the stand-ins are built with it; install g++ and binutils")
    return folder


def build() -> Path:
    """Return the folder of the stand-ins, built unless they lie there already."""
    folder = CACHE / digest()
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            place = Path(temporary) / "built"
            place.mkdir()
            build_all(place, wheels())
            try:
                os.rename(place, folder)
            except OSError:
                if not folder.exists():  # else another process was quicker
                    raise
    return folder


def digest() -> str:
    """Return the digest of everything that the stand-ins are made of."""
    packages = ["torch", "nvidia-cuda-runtime", "nvidia-cublas", "nvidia-cuda-cupti", "nvidia-nccl-cu13"]
    versions = [importlib.metadata.version(package) for package in packages]
    compiler = subprocess.run(["g++", "-dumpfullversion", "-dumpmachine"], capture_output=True, text=True, check=True).stdout
    whole = hashlib.sha256(json.dumps([versions, compiler, FLAGS]).encode())
    for path in [*sorted(NATIVE.rglob("*.*")), Path(__file__), Path(__file__).with_name("libraries.py")]:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def build_all(folder: Path, cuda: Path) -> None:
    """Compile all sources at once, and link one library after the other."""
    (folder / "error_texts.inc").write_text(error_texts(cuda))
    with ThreadPoolExecutor() as pool:
        sources = {
            source: pool.submit(compile_source, NATIVE / source, folder, cuda) for one in LIBRARIES for source in one.sources
        }
        objects = {source: task.result() for source, task in sources.items()}
    for library in LIBRARIES:
        link(library, [objects[source] for source in library.sources], folder, cuda)
    for path in folder.iterdir():
        if path.name not in {library.name for library in LIBRARIES}:
            path.unlink()


def compile_source(source: Path, folder: Path, cuda: Path) -> Path:
    """Return the object file of a source."""
    target = folder / f"{source.stem}.o"
    run(
        "g++",
        *FLAGS,
        "-I",
        str(NATIVE),
        "-I",
        str(NATIVE / "include"),
        "-I",
        str(cuda / "include"),
        "-I",
        str(cuda.parent / "nccl" / "include"),
        "-I",
        str(folder),
        "-c",
        str(source),
        "-o",
        str(target),
    )
    return target


def link(library: Library, objects: list[Path], folder: Path, cuda: Path) -> None:
    """Link a stand-in from its objects, and the functions that they leave out."""
    missing = sorted(wanted(library, cuda) - defined(objects))
    rest = folder / f"{library.name}.rest.cpp"
    rest.write_text(rest_source(library, missing))
    options = ["-shared", f"-Wl,-soname,{library.name}", "-ldl", "-lpthread"]
    if library.version:
        script = folder / f"{library.name}.map"
        script.write_text(f"{library.name} {{ global: *; }};\n")
        options.append(f"-Wl,--version-script={script}")
    if library.links:
        options += [f"-L{folder}", f"-l:{LIBRARIES[0].name}"]
    objects = [*objects, compile_source(rest, folder, cuda)]
    run("g++", *map(str, objects), *options, "-o", str(folder / library.name))


def wanted(library: Library, cuda: Path) -> set[str]:
    """Return the names of the functions that NVIDIA's library has."""
    if not library.names:
        return set()
    path = cuda / library.names
    names = re.findall(r"\w+", path.read_text()) if path.suffix == ".h" else symbols(path, "-D")
    return {name for name in names if re.fullmatch(library.pattern, name)}


def defined(objects: Iterable[Path]) -> set[str]:
    """Return the names of the functions that are defined in object files."""
    return {name for path in objects for name in symbols(path)}


def symbols(path: Path, *options: str) -> set[str]:
    """Return the names that a file defines, without versions."""
    lines = run("nm", "--defined-only", *options, str(path)).splitlines()
    return {line.split()[-1].partition("@")[0] for line in lines if len(line.split()) == 3}


def rest_source(library: Library, names: list[str]) -> str:
    """Return the source of functions that do nothing, or count as a launch."""
    lines = ['#include "nullcuda.h"', '#define API extern "C" __attribute__((visibility("default")))']
    for name in names:
        counting = f'nullcuda_note("{name}"); ' if re.fullmatch(library.counted, name) else ""
        lines.append(f"API int {name}() {{ {counting}return {library.result}; }}")
    return "\n".join(lines) + "\n"


def error_texts(cuda: Path) -> str:
    """Return the names and texts of CUDA's errors, as NVIDIA's runtime has them."""
    runtime = ctypes.CDLL(str(cuda / "lib" / LIBRARIES[0].name))
    runtime.cudaGetErrorName.restype = runtime.cudaGetErrorString.restype = ctypes.c_char_p
    unknown = runtime.cudaGetErrorName(ERRORS)
    rows = [(number, runtime.cudaGetErrorName(number), runtime.cudaGetErrorString(number)) for number in range(ERRORS)]
    return "\n".join(
        f"{{{number}, {json.dumps(name.decode())}, {json.dumps(text.decode())}}}," for number, name, text in rows if name != unknown
    )


def run(*command: str) -> str:
    """Return what a command prints. Raise BuildFailed with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout
