"""The Huffman codes of a JPEG: their tables, and a walk over coded blocks that reads where the first codes of MCUs stand.

Only the DC values are decoded; of the AC coefficients it takes to know how long they are.

Source: ITU-T T.81, annexes C and F.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["PEEK", "Layout", "Start", "Table", "ac_lookup", "dc_lookup", "tables", "walk"]

PEEK = 16
"""The longest code, in bits, which is how far ahead is looked."""


@dataclass(frozen=True)
class Table:
    """A Huffman table, as its segment has it: how many codes of each length from 1 to 16, and what they stand for in order."""

    counts: tuple[int, ...]
    symbols: tuple[int, ...]

    def codes(self) -> dict[int, tuple[int, int]]:
        """The code of each symbol: (bits, length). Raises ValueError where there are more codes than their lengths allow."""
        found, code, taken = {}, 0, 0
        for length, count in enumerate(self.counts, 1):
            for symbol in self.symbols[taken : taken + count]:
                found[symbol] = (code, length)
                code += 1
            if code > 1 << length:
                raise ValueError("it has an impossible Huffman table")
            code, taken = code << 1, taken + count
        return found

    def with_symbols(self, wanted: set[int]) -> Table:
        """The same table, and the same codes, with further symbols, in longer codes. Raises ValueError where none are left."""
        missing, counts = sorted(wanted - set(self.symbols)), list(self.counts)
        if not missing:
            return self
        for _ in missing:
            longest = max(length for length, count in enumerate(counts, 1) if count)
            # codes of this length that are not taken yet; of all ones none may be
            free = (1 << longest) - sum(count << longest - length for length, count in enumerate(counts[:longest], 1))
            length = longest if free > 1 else longest + 1
            if not free or length > PEEK:
                raise ValueError("its Huffman tables have no room for the values that restart markers take")
            counts[length - 1] += 1
        return Table(tuple(counts), (*self.symbols, *missing))

    def segment(self, number: int) -> bytes:
        """The content of its marker segment; `number` is class << 4 | table."""
        return bytes([number, *self.counts, *self.symbols])


def tables(body: bytes) -> dict[int, Table]:
    """The tables of one DHT segment, by class << 4 | table. Raises ValueError where it is cut off."""
    found, at = {}, 0
    while at < len(body):
        counts = tuple(body[at + 1 : at + 17])
        end = at + 17 + sum(counts)
        if len(counts) < 16 or end > len(body):
            raise ValueError("it has a Huffman table that is cut off")
        found[body[at]] = Table(counts, tuple(body[at + 17 : end]))
        at = end
    return found


@lru_cache(maxsize=64)  # most files have the four tables of the standard
def dc_lookup(table: Table) -> list[int]:
    """By the next 16 bits: length of the code | bits of the value << 5; 0 where no code begins so."""
    return _spread({key: length | key << 5 for key, (_, length) in table.codes().items() if key < 16}, table)


@lru_cache(maxsize=64)
def ac_lookup(table: Table) -> list[int]:
    """By the next 16 bits: length of code and value | coefficients passed << 6; 64 of them end the block; 0 for no code."""
    entries = {}
    for key, (_, length) in table.codes().items():
        run, size = key >> 4, key & 15
        passed = run + 1 if size or run == 15 else 64
        entries[key] = length + size | passed << 6
    return _spread(entries, table)


def _spread(entries: dict[int, int], table: Table) -> list[int]:
    found = np.zeros(1 << PEEK, np.int64)
    for key, (code, length) in table.codes().items():
        found[code << PEEK - length : code + 1 << PEEK - length] = entries.get(key, 0)
    out: list[int] = found.tolist()
    return out


@dataclass(frozen=True)
class Start:
    """The first code of one component in an MCU: the bits it takes, from `at` to `end`, and the DC value it leads to."""

    component: int
    at: int
    end: int
    value: int


Layout = list[tuple[int, list[int], list[int]]]
"""The blocks of an MCU: of which component each is, with the lookups of its DC and its AC codes."""


def walk(coded: bytes, layout: Layout, count: int, every: int) -> tuple[list[list[Start]], list[int]]:
    """Walks over `count` MCUs.

    Args:
        coded: the entropy-coded data, without stuffed zeros.
        layout: the blocks of an MCU.
        count: how many MCUs there are.
        every: which MCUs to report: one in so many.

    Returns:
        for each reported MCU the starts of its components, and the bit at which the MCU begins; of these there is one more, which
        is where the last MCU ends.

    Raises:
        ValueError: where the data end too early, or no code begins with the bits that come next.
    """
    padded = np.frombuffer(coded + bytes(8), np.uint8).astype(np.int64)
    # the 24 bits from each byte on hold 16 of any that begin in that byte
    ahead: list[int] = (padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]).tolist()
    at, limit, value = 0, 8 * len(coded), [0] * (1 + max(part for part, _, _ in layout))
    starts: list[list[Start]] = []
    begins: list[int] = []
    for number in range(count):
        report = number % every == 0
        if report:
            begins.append(at)
            here: list[Start] = []
            starts.append(here)
            seen = set()
        for part, dc, ac in layout:
            begin = at
            entry = dc[ahead[at >> 3] >> 8 - (at & 7) & 0xFFFF]
            size = entry >> 5
            at += entry & 31
            if size:
                bits = ahead[at >> 3] >> 24 - (at & 7) - size & (1 << size) - 1
                value[part] += bits if bits >> size - 1 else bits - (1 << size) + 1
                at += size
            if not entry or at > limit:
                raise ValueError("its coded data are damaged")
            if report and part not in seen:
                seen.add(part)
                here.append(Start(part, begin, at, value[part]))
            passed = 1
            while passed < 64:
                entry = ac[ahead[at >> 3] >> 8 - (at & 7) & 0xFFFF]
                if not entry:
                    raise ValueError("its coded data are damaged")
                at += entry & 63
                passed += entry >> 6
            if at > limit:
                raise ValueError("its coded data are truncated")
    begins.append(at)
    return starts, begins
