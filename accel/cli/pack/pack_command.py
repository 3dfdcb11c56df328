"""The subcommand `pack`: pictures in class folders become stores, one file per split."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from accel.cli.arguments import Flag, Usage
from accel.cli.exit_codes import INTERRUPTED, beside_the_work
from accel.errors import ConfigError
from accel.report.terminal import say
from accel.system.machine import cores
from accel.values import Bounds, Whole

if TYPE_CHECKING:
    from accel.data.splits.shard_settings import ShardSettings
    from accel.data.stores.encoding_recipe import Recipe
    from accel.data.stores.packing import Packing

__all__ = ["FLAGS", "USAGE", "WORDS", "Encoding", "Format", "OnError", "Pixels", "Processes", "Quality", "main"]

Processes = Annotated[int, Bounds("a whole number from 1 to 1024", low=1, high=1024)]
Quality = Annotated[int, Bounds("a whole number from 1 to 95", low=1, high=95)]
Pixels = Annotated[int, Bounds("a whole number from 1 to 65500", low=1, high=65500)]
Format = Literal["lmdb", "raw"]
OnError = Literal["raise", "skip"]
Encoding = Literal["original", "jpeg", "raw", "bmp", "tiled", "tiled-lossless"]

FLAGS = (
    Flag(("--format",), "encoded pictures, or pixels to be memory-mapped (lmdb)", "NAME", Format, "lmdb"),
    Flag(
        ("--encoding",),
        "original: the files' own bytes (default of lmdb); raw: pixels (default of raw); jpeg; bmp; tiled: a JPEG whose crops are "
        "read alone; tiled-lossless",
        "NAME",
        Encoding,
    ),
    Flag(("--short-side",), "shrink pictures whose shorter side is longer", "PIXELS", Pixels),
    Flag(("--max-side",), "shrink pictures whose longer side is longer", "PIXELS", Pixels),
    Flag(("--quality",), "of JPEG, 1 to 95 (90)", "N", Quality),
    Flag(("--workers",), f"processes that encode (one per core: {cores()})", "N", Processes, cores()),
    Flag(("--on-error",), "what becomes of an unreadable picture (raise)", "DO", OnError, "raise"),
    Flag(("--image",), "TFRecord feature, or extension in tars, of the picture", "NAME"),
    Flag(("--label",), "the same of the number of its class", "NAME"),
    Flag(("--text",), "TFRecord feature with the name of its class", "NAME"),
    Flag(("--file",), "TFRecord feature with the name of its file", "NAME"),
    Flag(("--first",), "number of the first class in TFRecord files (0)", "N", Whole, 0),
    Flag(("--keys",), "keys of the pictures in another tool's LMDB file", "KEYS"),
    Flag(("--labels",), "its labels: folder, a list, or keys (plugins lmdb)", "LABELS"),
    Flag(("--dry-run",), "estimate size and time, and write nothing"),
    Flag(("--check",), "read every record of finished stores (code 1: damage)"),
)

WORDS = (
    (
        "SRC",
        "a folder of class folders; or of splits (train/, val/, test/, or stores or shards of these names); tar or TFRecord files, "
        "as 'DIR/train-*.tar'; an LMDB file or folder; a store; or a URL of any",
    ),
    ("DST", "the folder of the stores; or for one split a file, NAME.lmdb or NAME.raw"),
)

USAGE = Usage(
    "pack",
    "Pack class folders of pictures into one file per split. It is read as the folder is, sample by sample and bit by bit, only "
    "faster (+plugins=[lmdb] or [raw]). After an interruption, the same command goes on.",
    ("SRC DST [FLAG ...]", "--check STORE ..."),
    FLAGS,
    (
        ("DIR DIR", "where plugins look first"),
        ("DIR STORES --encoding tiled", "crops are read alone"),
        ("'DIR/train-*.tar' train.lmdb", "shards into one store"),
        ("--check STORES", "look for damage"),
    ),
    (("Words", WORDS),),
)


def main(arguments: Sequence[str]) -> int:
    """Pack, estimate or check; return the exit code. Raise ConfigError if the arguments, a source or a target cannot work."""
    args = USAGE.parse(arguments)
    if args.help or not arguments:
        return USAGE.show_page(args.help)
    if not args.check and len(args.words) != 2:
        raise ConfigError(f"pack takes SRC and DST, and {len(args.words)} were given; {USAGE.program} --help says more")
    beside_the_work()
    from accel.cli.pack import pack_console
    from accel.report.visible_console import VisibleConsole

    console = VisibleConsole(highlight=False, markup=False)
    if args.check:
        return pack_console.check(console, [Path(path).expanduser() for path in args.words])
    jobs = _jobs(args)
    try:
        return pack_console.dry_run(console, jobs) if args.dry_run else pack_console.pack(console, jobs)
    except KeyboardInterrupt:
        say("accel: interrupted; give the same command again, and it goes on from there", file=sys.stderr)
        return INTERRUPTED


def _jobs(args: Namespace) -> list[Packing]:
    """Return one job for each store to be made. Raise ConfigError if a package is missing, or source or target cannot work."""
    from accel.cli.pack.pack_targets import targets
    from accel.data.codecs.pillow_decoder import require_pillow
    from accel.data.stores.lmdb_store import require_lmdb
    from accel.data.stores.packing import Packing

    require_pillow()
    recipe = _recipe(args)
    source, target = args.words
    stores = targets(source, Path(target).expanduser(), args.format, _settings(args))
    jobs = [Packing(store, path, recipe, args.workers, args.on_error == "skip") for store, path in stores]
    if args.format == "lmdb":
        require_lmdb()
    return jobs


def _settings(args: Namespace) -> ShardSettings:
    """Return how files of other tools are read."""
    from accel.data.shards.feature_names import NAMES
    from accel.data.shards.key_labels import LMDBLayout
    from accel.data.splits.shard_settings import ShardSettings

    features = {name: getattr(args, name) for name in NAMES._fields if getattr(args, name) is not None}
    layout = LMDBLayout(args.keys or "auto", args.labels or "auto")
    return ShardSettings(NAMES._replace(**features), args.first, args.image or "auto", args.label or "cls", layout)


def _recipe(args: Namespace) -> Recipe:
    """Return how each picture is encoded. Raise ConfigError if the encoding does not fit the format."""
    from accel.data.stores.encoding_recipe import Recipe

    encoding = args.encoding or ("raw" if args.format == "raw" else "original")
    if args.format == "raw" and encoding != "raw":
        raise ConfigError(f"--format raw holds pixels as they are; for --encoding {encoding} use --format lmdb")
    return Recipe(encoding, args.short_side, args.max_side, args.quality)
