"""What a smaller store costs: how far crops from shrunk pictures are from the same crops of the originals.

python benchmarks/shrinking.py ROOT [--crops 300] [--side 224]

ROOT holds pictures, at any depth. A random resized crop is taken of the original and, at the same place, of what `accel pack` would
store; both are resampled to `side` pixels as training does it. The distance is the median PSNR over the crops, in decibels.
"""

from __future__ import annotations

import argparse
from math import inf, log10
from pathlib import Path
from statistics import median

import numpy as np

from accel.data.codecs.crops import random_resized
from accel.data.codecs.image_reader import decode_record
from accel.data.codecs.pillow_decoder import decode, resample
from accel.data.sampling import sample_rng
from accel.data.store import picture_files
from accel.data.stores.encoding_recipe import Recipe

RECIPES = {
    "jpeg of quality 90": Recipe("jpeg"),
    "raw, max side 500": Recipe("raw", max_side=500),
    "jpeg of quality 90, max side 500": Recipe("jpeg", max_side=500),
    "raw, short side 256": Recipe("raw", short_side=256),
    "jpeg of quality 90, short side 256": Recipe("jpeg", short_side=256),
}


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures, uint8, in decibels."""
    error = float(((one.astype(np.float64) - other) ** 2).mean())
    return 10 * log10(255**2 / error) if error else inf


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("root", type=Path)
    reader.add_argument("--crops", type=int, default=300)
    reader.add_argument("--side", type=int, default=224)
    args = reader.parse_args()
    files = picture_files(args.root)
    found: dict[str, list[float]] = {name: [] for name in RECIPES}
    sizes = dict.fromkeys(["originals", *RECIPES], 0)
    for number in range(args.crops):
        file = files[number * len(files) // args.crops]
        record = Path(file).read_bytes()
        whole = decode(record, file)
        box = random_resized(*whole.size, sample_rng(0, 0, number))
        truth = resample(whole, box, args.side)
        sizes["originals"] += len(record)
        for name, recipe in RECIPES.items():
            content = recipe.apply(record, file, "original", 0)
            view = memoryview(content.content)
            view = view.cast("B", (content.height, content.width, 3)) if recipe.encoding == "raw" else view
            wide, high = content.width / whole.width, content.height / whole.height
            there = box[0] * wide, box[1] * high, box[2] * wide, box[3] * high
            found[name].append(psnr(truth, resample(decode_record(view, file, recipe.encoding), there, args.side)))
            sizes[name] += len(content.content)
    print(f"{args.crops} crops of {len(files)} pictures at {args.side} pixels")
    print(f"{'originals':36}            {sizes['originals'] / args.crops / 1e3:6.0f} kB a picture")
    for name, values in found.items():
        print(f"{name:36} {median(values):5.1f} dB   {sizes[name] / args.crops / 1e3:6.0f} kB a picture")


if __name__ == "__main__":
    main()
