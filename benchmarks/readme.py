"""Writes the figures of docs/figures.md and README.md from the newest results: python benchmarks/readme.py. A test checks them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from deploy_figures import claims_table, proofs_table

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
MARKS = ("<!-- figures: python benchmarks/readme.py -->\n", "<!-- end of figures -->\n")
FOLDED = "accel AdamW, unscale and clip folded"
STRUCK = {
    "kill": "`kill -9`", "update": "`kill -9` after every update", "term": "SIGTERM, SIGINT",
    "corrupt": "damaged checkpoints", "disk": "full disks", "worker": "`kill -9` of a loader's worker",
}  # fmt: skip
HEADLINES = ("overhead", "input", "optimizers", "cifar10", "saving", "drills")
"""Benchmarks of the README's table, row by row."""
ORDER = ("hand again", "accel", "accel, watched", "ignite", "Fabric", "Accelerate", "Lightning")


def newest(name: str) -> tuple[Path, dict[str, Any]]:
    """The newest result of a benchmark, by the date in its name."""
    path = max(RESULTS.glob(f"*-{name}.json"))
    return path, json.loads(path.read_text())


def measured(path: Path, result: dict[str, Any]) -> str:
    """When, on what, how often, and where the whole of it stands."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if name != "accel-train")
    many = f"; n = {result['repetitions']} interleaved; median (10th to 90th percentile)" if "repetitions" in result else ""
    where = f"{result['date'][:10]}, {result['cores']} cores of {result['cpu']}, Python {result['python']}, {versions}"
    return f"{where}{many}. [All of it]({link(path)})."


def link(path: Path) -> str:
    """Return the link from docs/figures.md to a result's page."""
    return f"../benchmarks/results/{path.with_suffix('.md').name}"


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
    commands = result["commands"]
    torch, typo, help_ = (commands[name]["time"]["median"] for name in ("import torch", "misspelt plugin", "help"))
    return (
        f"**Start-up**: from the command to the first update in the time of `import torch` ({torch:.1f} s) plus "
        f"{commands['first update']['over']['median']:.1f} s; a misspelt plugin is named in {typo:.2f} s, `--help` answers in "
        f"{help_:.2f} s.\n\n"
        f"`python benchmarks/startup.py`; {measured(path, result)}\n"
    )


def peers() -> str:
    """Who keeps what."""
    path, result = newest("peers")
    table = path.with_suffix(".md").read_text()
    rows = table[table.index("| | ") : table.index("## What was seen")].strip()
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if name != "accel-train")
    return (
        "**What is kept**, asked of each peer with one script (-: it has nothing of the kind, or needs CUDA for it):\n\n"
        f"{rows}\n\n"
        f"`python benchmarks/peers.py`; {result['date'][:10]}, {versions}. [What each of them did]({link(path)}).\n"
    )


def cifar10() -> str:
    """How long training takes to a stated accuracy; nothing where it was not measured yet."""
    if not any(RESULTS.glob("*-cifar10.json")):
        return ""
    path, result = newest("cifar10")
    plain, recipe, ratio = result["arms"]["plain"], result["arms"]["recipe"], result["ratios"]
    shares = [[run["data_share"] for run in arm["runs"]] for arm in (plain, recipe)]
    waits = [f"{sum(share) / len(share):.1f} %" for share in shares]
    return (
        f"**Time to accuracy**: {result['target']:.0%} on CIFAR-10's test pictures, from its JPEG files, takes "
        f"{recipe['mean']:.1f} s (s = {recipe['stdev']:.1f}) with plugins "
        "(`resident`, `amp`, `channels_last`, `muon`, `onecycle`), "
        f"and {plain['mean']:.0f} s (s = {plain['stdev']:.0f}) with plain SGD in float32: {ratio['median']:.1f} times as long, "
        f"with the same network. Waiting for pictures takes {waits[1]} of the training time, and {waits[0]}.\n\n"
        f"`python benchmarks/cifar10.py ROOT`; {measured(path, result)}\n\n"
    )


def pipeline() -> str:
    """Pictures per second into the loop; nothing where it was not measured yet."""
    if not any(RESULTS.glob("*-input.json")):
        return ""
    path, result = newest("input")
    lines = [
        "**Input pipeline**: pictures per second into a loop that only takes them, two CPU cores, page cache warm (random "
        "resized crop of 224 pixels and flip, batches of 64; CIFAR-10's 32 pixels). Ratio: to torch's DataLoader with Pillow in "
        "the same round. First: seconds from asking to the first batch. PSNR: to the original file, antialiased by Pillow, at "
        "the same windows.",
        "",
        "| | pictures/s | ratio | first | memory | PSNR |",
        "|---|---|---|---|---|---|",
    ]
    for name, arm in result["arms"].items():
        pixels, ratio = arm.get("pixels"), arm["ratio"]
        dots = "" if not pixels else "same" if pixels["psnr"] is None else f"{pixels['psnr']:.1f} dB"
        lines.append(
            f"| {name} | {arm['rate']['median']:,.0f} | {ratio['median']:.1f} ({ratio['p10']:.1f} to {ratio['p90']:.1f}) | "
            f"{arm['first']['median']:.2f} s | {arm['memory']['median']:,.0f} MB | {dots} |"
        )
    peers = ", ".join(f"{name} {number}" for name, number in result["peer_versions"].items())
    beside = f" The peers' packages: {peers}." if peers else ""
    command = "`python benchmarks/input_pipeline.py ROOT --work WORK`"
    return "\n".join([*lines, "", f"{command}; {measured(path, result)}{beside}", "", ""])


def optimizers() -> str:
    """What a step costs beside the memory that it must move."""
    path, result = newest("optimizers")
    cases = [case for case in result["cases"] if case["device"] == "cpu"]
    arms = ["accel AdamW", "torch AdamW, fused", "accel LAMB", "accel LAMB, p.grad kept", "timm LAMB", "accel LARS", "timm LARS"]
    lines = [
        "**Optimisers**: the time of a step over that of moving its bytes once (at the speed of an in-place add in the same "
        "repetition), float32, one thread; medians.",
        "",
        "| | bytes per parameter | " + " | ".join(case["model"] for case in cases) + " |",
        "|---|---|" + "---|" * len(cases),
    ]
    for arm in (arm for arm in arms if arm in cases[0]["arms"]):
        over = [f"{case['arms'][arm]['over_floor']['median']:.2f}" for case in cases]
        lines.append(f"| {arm} | {cases[0]['arms'][arm]['bytes']} | {' | '.join(over)} |")
    folded = " and ".join(f"{case['arms'][FOLDED]['over_bare']['median']:.2f}" for case in cases)
    faster = [
        f"{arm} is {' and '.join(format(case['faster'][arm]['times']['median'], '.1f') for case in cases)} times faster than "
        f"{other['than']}"
        for arm, other in cases[0]["faster"].items()
    ]
    lines += ["", "; ".join([*faster, f"unscaling, clipping and stepping as one takes {folded} times the bare step"]) + "."]
    return "\n".join([*lines, "", f"`python benchmarks/optimizers.py`; {measured(path, result)}", ""])


def amp() -> str:
    """What 16 bits and channels_last bring."""
    path, result = newest("amp")
    lines = [
        "**Number formats**: a training step on two CPU cores, times faster than float32 (peak memory beside it).",
        "",
        "| | " + " | ".join(f"{case['case']}, {case['about']}" for case in result["cases"]) + " |",
        "|---|" + "---|" * len(result["cases"]),
    ]
    for arm in dict.fromkeys(name for case in result["cases"] for name in case["arms"]):
        cells = [case["arms"].get(arm) for case in result["cases"]]
        shown = [f"{cell['speedup']['median']:.2f} ({cell['peak_mb']:,.0f} MB)" if cell else "" for cell in cells]
        lines.append(f"| {arm} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", f"`python benchmarks/amp.py`; {measured(path, result)}", ""])


def drills() -> str:
    """Whether runs survive."""
    path, result = newest("drills")
    lines = [
        "**Drills**: runs that were struck at random and went on until they were done; *identical* are those that ended with the "
        "bits of one that was left alone: the checkpoint, metrics.jsonl and model.safetensors.",
        "",
        "| | struck | runs | identical | sets of plugins |",
        "|---|---|---|---|---|",
    ]
    for kind, what in STRUCK.items():
        cases = [case for case in result["cases"] if case["kind"] == kind]
        if not cases:
            continue
        sums = [f"{sum(case[name] for case in cases):,}" for name in ("strikes", "trials", "identical")]
        lines.append(f"| {what} | {' | '.join(sums)} | {len(cases)} |")
    return "\n".join([*lines, "", f"`make drill`; {measured(path, result)}", "", ""])


def saving() -> str:
    """What checkpoints cost; nothing where it was not measured yet."""
    if not any(RESULTS.glob("*-saving.json")):
        return ""
    path, result = newest("saving")
    share, alone = (result["arms"][arm]["waits_percent"]["median"] for arm in ("background", "foreground"))
    size = result["arms"]["background"]["megabytes"]["median"]
    return (
        f"**Checkpoints**: with one of {size:.0f} MB every {result['every']} updates, the loop waits {share:.1f} % of its time for "
        f"them; {alone:.1f} % where it waits until each is on the disk.\n\n"
        f"`python benchmarks/saving.py --threads 1`; {measured(path, result)}\n\n"
    )


def distributed() -> str:
    """What a second rank brings, and how soon a killed one is back."""
    path, result = newest("distributed")
    cases = result["cases"]
    accel, raw = ([f"{case['efficiency'][who]['median']:.2f}" for case in cases.values()] for who in ("ours", "raw DDP"))
    ratio = [f"{case['ratio']['median']:.2f} ({case['ratio']['p10']:.2f} to {case['ratio']['p90']:.2f})" for case in cases.values()]
    back = result["recovery"]
    return (
        f"**Two ranks** on two cores by {result['backend']} ({', '.join(cases)}): the efficiency of a second core is "
        f"{' and '.join(accel)}, that of torch's DDP in a hand-written loop {' and '.join(raw)}: {' and '.join(ratio)} times. A "
        f"rank that is killed is back, and both have done an update, after {back['median']:.1f} s (n = {len(back['times'])}), of "
        f"which {back['imports']['median']:.1f} s are the imports.\n\n"
        f"`python benchmarks/distributed.py`; {measured(path, result)}\n\n"
    )


def model_advice() -> str:
    """What advise foretells of a model's changes, beside what came of them; nothing where it was not measured yet."""
    if not any(RESULTS.glob("*-advise.json")):
        return ""
    path, result = newest("advise")
    told = [row for row in result["rows"] if row["verdict"] in ("holds", "wrong")]
    bounds = [row for row in result["rows"] if row["verdict"] in ("below", "above the most")]
    held, kept = sum(row["verdict"] == "holds" for row in told), sum(row["verdict"] == "below" for row in bounds)
    lines = [
        f"**What advise foretells**: of {len(told)} changes of a model whose gain it tells, {held} saved what it told, within 30 % "
        f"or 2 % of the pass; of {len(bounds)} for which it tells the most, {kept} saved no more. The largest:",
        "",
        "| model | change | foretold | measured |",
        "|---|---|---|---|",
    ]
    for row in sorted(told, key=lambda row: -(row["gain"] or 0.0))[:6]:
        saved = row["saved"]
        measured_share = f"{saved['middle']:.0%} ({saved['low']:.0%} to {saved['high']:.0%})"
        lines.append(f"| {row['case']} | {row['change']} | {row['gain'] or 0.0:.0%} | {measured_share} |")
    return "\n".join([*lines, "", f"`python benchmarks/advise.py`; {measured(path, result)}", "", ""])


def diagnoses() -> str:
    """How often doctor and ablate are right; of each benchmark nothing where it was not measured yet."""
    lines = []
    for name, sentence in (("doctor", predicted), ("bottlenecks", named), ("ablate", called)):
        if any(RESULTS.glob(f"*-{name}.json")):
            path, result = newest(name)
            lines.append(f"- `python benchmarks/{name}.py`: {sentence(result)}. {measured(path, result)}")
    return "\n".join(["**Diagnoses**: how often they are right.", "", *lines, "", ""]) if lines else ""


def predicted(result: dict[str, Any]) -> str:
    """Return how near the predictions of doctor are."""
    errors = [abs(row["error"]) for row in result["rows"] if "error" in row]
    near, far = sum(error <= 0.15 for error in errors), sum(error > 0.3 for error in errors)
    return f"of {len(errors)} speed-ups that doctor predicts, {near} are within 15 % of what was measured, and {far} beyond 30 %"


def named(result: dict[str, Any]) -> str:
    """Return how often doctor names what was injected."""
    rows = result["rows"]
    right, wrong = (sum(row[key] for row in rows) for key in ("named", "named_without"))
    return f"of {len(rows)} bottlenecks injected into healthy runs doctor names {right} first, and {wrong} without them"


def called(result: dict[str, Any]) -> str:
    """Return how often ablate is wrong."""
    equal = [row["verdict"] for row in result["comparisons"] if row["kind"] == "equal"]
    slower = [row["verdict"] for row in result["comparisons"] if row["kind"] != "equal"]
    return (
        f"of {len(equal)} pairs of equal runs ablate calls {len(equal) - equal.count('neutral')} different; of {len(slower)} where "
        f"one has 5 % more work it finds {slower.count('harmful')}"
    )


def on_cpu() -> str:
    """Whole frameworks on a CPU, model by model; nothing where it was not measured yet."""
    if not any(RESULTS.glob("*-cpu.json")):
        return ""
    path, result = newest("cpu")
    lines = [
        "**On a CPU**: milliseconds per update of whole frameworks, each run a process of its own: plain PyTorch as people write "
        "it, Lightning with its best flags, and accel with `+plugins=[fast,adamw]`; in brackets how many times as fast accel is as "
        "Lightning, round by round.",
        "",
        "| | plain | Lightning | accel | peak memory, Lightning and accel |",
        "|---|---|---|---|---|",
    ]
    for case in result["cases"]:
        for number in ("float32", "bfloat16"):
            plain, peer, own = (case["arms"].get(f"{who}, {number}") for who in ("plain", "Lightning", "accel"))
            if own is None or peer is None:
                continue
            by_hand = f"{plain['time']['median']:.1f}" if plain else ""
            times, peaks = own["times"], " and ".join(f"{arm['peak']['median']:,.0f}" for arm in (peer, own))
            lines.append(
                f"| {case['about']}, {number} | {by_hand} | {peer['time']['median']:.1f} | {own['time']['median']:.1f} "
                f"({times['median']:.2f}, {times['p10']:.2f} to {times['p90']:.2f}) | {peaks} MB |"
            )
    count = {arm["n"] for case in result["cases"] for arm in case["arms"].values()}
    return "\n".join(
        [*lines, "", f"`python benchmarks/cpu.py`, n = {' or '.join(map(str, sorted(count)))}; {measured(path, result)}", "", ""]
    )


def headlines() -> list[tuple[str, str, str]]:
    """Return the rows of the README's table: the question, accel's answer, and what it is compared with."""
    over = {arm: kept["wall_over"]["median"] for arm, kept in everything_on()["arms"].items()}
    images, cifar, saving = newest("input")[1]["arms"], newest("cifar10")[1], newest("saving")[1]
    saved = saving["arms"]["background"]
    lamb = [case["faster"]["accel LAMB"]["times"]["median"] for case in newest("optimizers")[1]["cases"] if case["device"] == "cpu"]
    killed = [case for case in newest("drills")[1]["cases"] if case["kind"] == "kill"]
    strikes, trials, identical = (sum(case[name] for case in killed) for name in ("strikes", "trials", "identical"))
    rates = [images[name]["ratio"]["median"] for name in ("original files, threads, same pixels as PIL", "tiled-lossless")]
    plain, recipe = (cifar["arms"][arm]["mean"] for arm in ("plain", "recipe"))
    return [
        ("A micro-batch with everything on, beside a loop by hand", f"{over['accel']:+.0f} µs",
         f"Accelerate {over['Accelerate']:+.0f} µs, Lightning {over['Lightning']:+.0f} µs"),
        ("Photographs per second, the same pixels", f"{rates[0]:.1f} times; {rates[1]:.1f} times from tiles",
         "DataLoader with Pillow"),
        ("A step of LAMB", f"{lamb[0]:.1f} times faster", "timm's LAMB"),
        (f"{cifar['target']:.0%} on CIFAR-10, from JPEG files, two CPU cores", f"{recipe:.0f} s",
         f"{plain:.0f} s with SGD in float32"),
        ("Time spent waiting for checkpoints", f"{saved['waits_percent']['median']:.1f} %",
         f"every {saving['every']} updates, {saved['megabytes']['median']:.0f} MB each"),
        ("Runs struck by `kill -9` and resumed", f"{identical} of {trials} to the same bits", f"{strikes:,} kills"),
    ]  # fmt: skip


def conditions() -> str:
    """Return the sentence below the README's table: on which machine, when and how often its rows were measured."""
    results = [newest(name)[1] for name in HEADLINES]
    machines = sorted({f"{result['cores']} cores of {result['cpu']}" for result in results})
    dates = sorted({result["date"][:10] for result in results})
    repetitions = [str(result["repetitions"]) for result in results if "repetitions" in result]
    return (
        f"Measured on {' and on '.join(machines)}, {' to '.join(dict.fromkeys((dates[0], dates[-1])))}: medians (for CIFAR-10 the "
        f"mean) of n = {', '.join(repetitions[:-1])} and {repetitions[-1]} repetitions,\nrow by row; the last row counts runs."
    )


def everything_on() -> dict[str, Any]:
    """Return the case of the loop with everything on, by AdamW."""
    cases: list[dict[str, Any]] = newest("overhead")[1]["cases"]
    return next(case for case in cases if case["optim"] == "adamw" and case["case"] == "everything on")


def replaced(text: str, figures: str) -> str:
    """Return a page with other figures between its marks."""
    head, _, rest = text.partition(MARKS[0])
    tail = rest.partition(MARKS[1])[2]
    return f"{head}{MARKS[0]}\n{figures}{MARKS[1]}{tail}"


def whole_page(page: str) -> str:
    """Return docs/figures.md with the figures as they are now."""
    parts = [f"{part()}\n" for part in (peers, overhead, optimizers, amp, startup)]
    figures = "".join(
        [*parts, *(part() for part in (drills, saving, distributed, diagnoses, model_advice, on_cpu, pipeline, cifar10))]
    )
    return replaced(page, re.sub(r"^\*\*(.+?)\*\*", r"## \1\n\n\1", figures, flags=re.MULTILINE))


def short_table(readme: str) -> str:
    """Return README.md with its table as it is now."""
    rows = [f"| {question} | {answer} | {beside} |" for question, answer, beside in headlines()]
    return replaced(readme, "\n".join(["| | accel | beside |", "|---|---|---|", *rows, "", conditions(), "", ""]))


def shape_costs(page: str) -> str:
    """Return docs/guides/ship.md with what a change of a model's modules costs; without figures where it was not measured yet."""
    if not any(RESULTS.glob("*-shapes.json")):
        return replaced(page, "")
    path, result = newest("shapes")
    lines = path.with_suffix(".md").read_text().strip().splitlines()[2:]
    where = source("shapes", path, result)
    return replaced(page, "\n".join([lines[0], "", *(line for line in lines if line.startswith("|")), "", where, "", ""]))


def proven_exports(page: str) -> str:
    """Return docs/guides/export.md with what was proven of exports; without figures where it was not measured yet."""
    if not any(RESULTS.glob("*-export-engines.json")):
        return replaced(page, "")
    path, result = newest("export-engines")
    return replaced(page, "\n".join([*proofs_table(result), "", source("export", path, result), "", ""]))


def measured_claims(page: str) -> str:
    """Return docs/guides/what-became.md with what notes claim, measured; without figures where it was not measured yet."""
    results = [newest(name) for name in ("deploy-engines", "deploy-folds") if any(RESULTS.glob(f"*-{name}.json"))]
    if not results:
        return replaced(page, "")
    sources = [f"{source('deploy_claims', path, result)}\n" for path, result in results]
    return replaced(page, "\n".join([*claims_table(result for _, result in results), "", *sources, ""]))


def source(name: str, path: Path, result: dict[str, Any]) -> str:
    """Return the command of a result, and where it was measured, for a page of docs/guides."""
    return f"`python benchmarks/{name}.py`; {measured(path, result).replace('../benchmarks', '../../benchmarks')}"


PAGES = {"docs/figures.md": whole_page, "README.md": short_table, "docs/guides/ship.md": shape_costs,
         "docs/guides/export.md": proven_exports, "docs/guides/what-became.md": measured_claims}  # fmt: skip


if __name__ == "__main__":
    for name, write in PAGES.items():
        file = ROOT / name
        file.write_text(write(file.read_text(encoding="utf-8")), encoding="utf-8")
    text = (ROOT / "docs/figures.md").read_text(encoding="utf-8")
    print(f"figures of {', '.join(sorted(set(re.findall(r'results/([^)]*)[.]md', text))))}")
