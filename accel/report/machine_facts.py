"""Facts of a machine in words, for the page of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accel.report.formatting import size

if TYPE_CHECKING:
    from accel.diagnose.diagnosis import Diagnosis
    from accel.diagnose.machine.data_disk import DataDisk
    from accel.diagnose.machine.graphics_cards import GraphicsCard

__all__ = ["machine_facts"]


def machine_facts(diagnosis: Diagnosis) -> dict[str, str]:
    """Return the facts of a diagnosis' machine, by name."""
    machine = diagnosis.machine
    processor, memory, torch = machine.processor, machine.memory, machine.torch
    quota = f", with a quota of {processor.quota:g}" if processor.quota is not None else ""
    flags = f"; {', '.join(processor.flags)}" if processor.flags else ""
    facts = {"processor": f"{processor.name}, {processor.cores} of {processor.installed} cores{quota}{flags}"}
    sizes = {"free": memory.free, "in all": memory.total, "in the swap": memory.swapped or None, "free in /dev/shm": memory.shared}
    facts["memory"] = ", ".join(f"{size(count)} {name}" for name, count in sizes.items() if count is not None)
    built = f"for CUDA {torch.cuda}" if torch.cuda else "for the CPU"
    spin = f"; {torch.spin}" if torch.spin else ""
    facts["torch"] = f"{torch.version} {built}, {torch.threads} thread{'s' * (torch.threads != 1)}{spin}"
    if not machine.cards:
        facts["GPU"] = "none that NVIDIA's library tells of"
    for number, card in enumerate(machine.cards):
        facts[f"GPU {number}"] = _card(card)
    if machine.disk is not None:
        facts["data"] = _disk(machine.disk)
    if machine.variables:
        facts["variables"] = ", ".join(f"{name}={value}" for name, value in machine.variables.items())
    return facts


def _card(card: GraphicsCard) -> str:
    capability = "" if card.capability is None else f", capability {card.capability[0]}.{card.capability[1]}"
    memory = "" if card.total is None or card.free is None else f", {size(card.free)} of {size(card.total)} free"
    link = "" if card.link is None else f", PCIe {card.link[0]} x{card.link[1]}"
    clock = "" if card.clock is None else f", {card.clock[0]} of {card.clock[1]} MHz"
    return f"{card.name}{capability}{memory}, driver {card.driver}{link}{clock}"


def _disk(disk: DataDisk) -> str:
    cold = "cannot be read past the cache" if disk.cold is None else f"reads {size(disk.cold)}/s"
    warm = "" if disk.warm is None else f", {size(disk.warm)}/s from the cache"
    return f"{disk.path}{f' ({disk.kind})' if disk.kind else ''}: {cold}{warm}"
