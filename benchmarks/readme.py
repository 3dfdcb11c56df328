"""Writes the figures of README.md from the newest results: python benchmarks/readme.py. A test holds the two together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
MARKS = ("<!-- figures: python benchmarks/readme.py -->\n", "<!-- end of figures -->\n")
ORDER = ("hand again", "accel", "accel, watched", "ignite", "Fabric", "Accelerate", "Lightning")


def newest(name: str) -> tuple[Path, dict[str, Any]]:
    """The newest result of a benchmark, by the date in its name."""
    path = max(RESULTS.glob(f"*-{name}.json"))
    return path, json.loads(path.read_text())


def measured(path: Path, result: dict[str, Any]) -> str:
    """When, on what, how often, and where the whole of it stands."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if name != "accel-train")
    link = path.with_suffix(".md").relative_to(ROOT).as_posix()
    return (
        f"{result['date'][:10]}, {result['cores']} cores of {result['cpu']}, Python {result['python']}, {versions}; "
        f"n = {result['repetitions']} interleaved; median (10th to 90th percentile). [All of it]({link})."
    )


def overhead() -> str:
    """The loop beside the hand-written one and its peers."""
    path, result = newest("overhead")
    cases = [case for case in result["cases"] if case["optim"] == "adamw"]
    lines = [
        "**The loop**: microseconds per micro-batch more than a loop written by hand (MLP 64-64-10, batch 32, AdamW, one thread; "
        "everything on: accumulate 4, clip, OneCycle, bfloat16, EMA). Below zero is faster than by hand: the fused optimiser is "
        "called with less Python around it. `hand again` is the noise.",
        "",
        "| | " + " | ".join(case["case"] for case in cases) + " |",
        "|---|" + "---|" * len(cases),
    ]
    for arm in ORDER:
        cells = []
        for case in cases:
            over = case["arms"][arm]["wall_over"]
            cells.append(f"{over['median']:+.0f} ({over['p10']:+.0f} to {over['p90']:+.0f})")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"`python benchmarks/overhead.py --peers`; {measured(path, result)}", ""])


def startup() -> str:
    """How long a user waits."""
    path, result = newest("startup")
    found = result["commands"]
    torch, typo, help_ = (found[name]["time"]["median"] for name in ("import torch", "misspelt plugin", "help"))
    return (
        f"**Start-up**: from the command to the first update in the time of `import torch` ({torch:.1f} s) plus "
        f"{found['first update']['over']['median']:.1f} s; a misspelt plugin is named in {typo:.2f} s, `--help` answers in "
        f"{help_:.2f} s.\n\n"
        f"`python benchmarks/startup.py`; {measured(path, result)}\n"
    )


def peers() -> str:
    """Who keeps what."""
    path, result = newest("peers")
    table = path.with_suffix(".md").read_text()
    rows = table[table.index("| | ") : table.index("## What was seen")].strip()
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if name != "accel-train")
    link = path.with_suffix(".md").relative_to(ROOT).as_posix()
    return (
        "**What is kept**, asked of each peer with one script (-: it has nothing of the kind, or needs CUDA for it):\n\n"
        f"{rows}\n\n"
        f"`python benchmarks/peers.py`; {result['date'][:10]}, {versions}. [What each of them did]({link}).\n"
    )


def written(readme: str) -> str:
    """The README with the figures as they are now."""
    head, _, rest = readme.partition(MARKS[0])
    tail = rest.partition(MARKS[1])[2]
    return f"{head}{MARKS[0]}\n{peers()}\n{overhead()}\n{startup()}\n{MARKS[1]}{tail}"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = written(readme.read_text())
    readme.write_text(text)
    print(f"README.md has the figures of {', '.join(sorted(set(re.findall(r'results/([^)]*)[.]md', text))))}")
