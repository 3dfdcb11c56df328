"""Lines of code that make the host wait or copy: numbers read on the host, copies between devices, `torch.tensor` of arrays."""

from __future__ import annotations

from collections.abc import Iterator

from accel.device.host_reads import READS
from accel.diagnose.findings.finding import Finding, listed
from accel.diagnose.layers.layer_table import LayerTable
from accel.diagnose.layers.operation import Operation

__all__ = ["array_copies", "device_copies", "host_reads_of_model"]

READ_NAMES = frozenset(name.partition("::")[2] for name in READS)
COPIES = frozenset({"_to_copy", "copy_"})


def host_reads_of_model(table: LayerTable) -> Iterator[Finding]:
    """Find numbers that the model or its loss reads on the host: on a GPU each makes the host wait for the device."""
    reads = [one for one in table.operations if one.name in READ_NAMES]
    if not reads:
        return
    counts: dict[str, int] = {}
    for one in reads:
        counts[one.line or one.name] = counts.get(one.line or one.name, 0) + 1
    lines = sorted(counts, key=lambda line: -counts[line])
    where = "each makes the host wait for the device"
    where = where if table.device == "cuda" else f"on a GPU {where}"
    yield Finding(
        "host_reads",
        f"numbers that a pass reads on the host; {where}, and no graph can be captured or compiled across it",
        f"{len(reads)} in a pass: {listed([f'{counts[line]} x {line}' for line in lines])}",
        tuple(dict.fromkeys(one.layer for one in reads if one.layer is not None)),
        change=f"keep it a tensor (torch.where in place of if): {lines[0]}",
        gain_note="not foretold: it is what the host would have done meanwhile"
        if table.device == "cuda"
        else "none on a CPU, where nothing waits, and torch.where computes both ways: it is for a GPU, and for compile",
    )


def _crossing(one: Operation) -> tuple[str, str] | None:
    """Return the devices that a copy goes from and to; None if it stays on one."""
    if one.name not in COPIES or not one.inputs or not one.outputs:
        return None
    source, target = one.inputs[-1].device, one.outputs[0].device
    return None if source == target else (source, target)


def device_copies(table: LayerTable) -> Iterator[Finding]:
    """Find copies between devices within a pass, and say whether data goes there and comes back."""
    copies = [(one, crossing) for one in table.operations if (crossing := _crossing(one)) is not None]
    if not copies:
        return
    directions = {crossing for _, crossing in copies}
    returns = any((target, source) in directions for source, target in directions)
    lines = list(dict.fromkeys(one.line for one, _ in copies if one.line))
    seconds = sum(one.seconds for one, _ in copies)
    yield Finding(
        "device_copies",
        "data goes to another device and comes back" if returns else "data goes to another device in the middle of a pass",
        f"{len(copies)} copies of {sum(one.bytes for one, _ in copies) / 1e6:.2f} MB: "
        f"{listed(lines or [f'{source} to {target}' for source, target in sorted(directions)])}",
        tuple(dict.fromkeys(one.layer for one, _ in copies if one.layer is not None)),
        table.share(seconds),
        change="make tensors on the device of the input (device=x.device), constants once, as buffers",
        gain_note="and the host waits for each copy from the device",
    )


def array_copies(table: LayerTable) -> Iterator[Finding]:
    """Find calls of `torch.tensor` with an array, which copy it."""
    copies = table.array_copies
    if copies:
        lines = sorted(copies, key=lambda line: -copies[line].seconds)
        read = sum(copy.seconds for copy in copies.values() if not copy.in_pass)
        yield Finding(
            "array_copies",
            "torch.tensor copies the array that it is given",
            f"{sum(copy.bytes for copy in copies.values()) / 1e6:.2f} MB: {listed(lines)}",
            tuple(dict.fromkeys(copy.layer for copy in copies.values() if copy.layer is not None)),
            table.share(sum(copy.seconds for copy in copies.values() if copy.in_pass)),
            change=f"torch.as_tensor or torch.from_numpy, which share its memory: {lines[0]}",
            gain_note=f"{1000 * read:.2g} ms of reading each batch" if read else "",
        )
