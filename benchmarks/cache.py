"""What the plugin cache brings: samples a second in the first epoch and in later ones, beside the same reader without it.

python benchmarks/cache.py ROOT [--size 32] [--crop pad] [--decoder pillow] [--filter antialias] [--threads 2] [--repeats 5]

ROOT holds train/<class>/* and test/<class>/*. Batches of 64 are read by threads, as the plugin `threads` does, and thrown away.
Each repeat reads an epoch of each arm, one after the other; page cache warm; the batches of both are compared.
"""

from __future__ import annotations

import argparse
from hashlib import md5
from statistics import median
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from accel.data import Ring
from accel.plugins.cache import Cache
from accel.tasks.images import Images


def epoch(ring: Ring, number: int, checked: bool = False) -> tuple[float, str]:
    """Samples a second, and what was read, where that is asked for."""
    seen, read, since = md5(), 0, perf_counter()
    for pictures, labels in ring.epoch(number):
        read += len(labels)
        if checked:
            seen.update(pictures.numpy().tobytes())
    return read / (perf_counter() - since), seen.hexdigest()


def told(rates: list[float]) -> str:
    """The median, and the lowest and the highest."""
    return f"{median(rates):8,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("root")
    reader.add_argument("--split", default="train")
    reader.add_argument("--size", type=int, default=32)
    reader.add_argument("--crop", default="pad")
    reader.add_argument("--decoder", default="pillow")
    reader.add_argument("--filter", default="antialias")
    reader.add_argument("--threads", type=int, default=2)
    reader.add_argument("--repeats", type=int, default=5)
    args = reader.parse_args()
    task = Images(root=args.root, size=args.size, crop=args.crop, decoder=args.decoder, filter=args.filter)

    def ring(data: Any) -> Ring:
        return Ring(data, 64, shuffle=True, threads=args.threads)

    data = task.data(args.split)
    plain, rates = ring(data), {"without": list[float](), "first epoch": list[float](), "later": list[float]()}
    epoch(plain, 0)
    for number in range(args.repeats):
        plugin = Cache(disk=0)
        plugin.setup(SimpleNamespace(dry=False))  # type: ignore[arg-type]
        with ring(plugin.open(data, args.split)) as kept:
            rates["without"].append(epoch(plain, number)[0])
            rates["first epoch"].append(epoch(kept, 0)[0])
            rates["later"].append(epoch(kept, number)[0])
            assert epoch(kept, number + 1, checked=True)[1] == epoch(plain, number + 1, checked=True)[1], "other batches"
    plain.close()
    print(plugin.plan_notes()[f"{args.split} cache"])
    for name, found in rates.items():
        print(f"{name:12} {told(found)} samples/s, {median(found) / median(rates['without']):.2f} times")


if __name__ == "__main__":
    main()
