"""Huffman codes of JPEGs: their tables, and a scan that finds where the first codes of MCUs stand.

Only DC values are decoded. Of AC coefficients the scan needs no more than the length.

Source: ITU-T T.81, annexes C and F.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["MAX_CODE_BITS", "DCCode", "HuffmanTable", "MCULayout", "ac_lookup", "dc_lookup", "parse_tables", "scan_mcus"]

MAX_CODE_BITS = 16
"""Bits of the longest code, which is how far lookups look ahead."""


@dataclass(frozen=True)
class HuffmanTable:
    """A Huffman table as its DHT segment stores it (T.81, B.2.4.2).

    Args:
        counts: Number of codes of each length from 1 to 16 bits.
        symbols: Symbols in the order of their codes.
    """

    counts: tuple[int, ...]
    symbols: tuple[int, ...]

    def codes(self) -> dict[int, tuple[int, int]]:
        """Return (code, length in bits) of each symbol.

        Raises:
            ValueError: If there are more codes than their lengths allow.
        """
        codes, code, taken = {}, 0, 0
        for length, count in enumerate(self.counts, 1):
            for symbol in self.symbols[taken : taken + count]:
                codes[symbol] = (code, length)
                code += 1
            if code > 1 << length:
                raise ValueError("it has an impossible Huffman table")
            code, taken = code << 1, taken + count
        return codes

    def with_symbols(self, wanted: set[int]) -> HuffmanTable:
        """Return the table with further symbols, in longer codes; codes that exist stay as they are.

        Raises:
            ValueError: If no code of at most 16 bits is left.
        """
        missing, counts = sorted(wanted - set(self.symbols)), list(self.counts)
        if not missing:
            return self
        for _ in missing:
            longest = max(length for length, count in enumerate(counts, 1) if count)
            # codes of this length that are not taken yet; of all ones none may be
            free = (1 << longest) - sum(count << longest - length for length, count in enumerate(counts[:longest], 1))
            length = longest if free > 1 else longest + 1
            if not free or length > MAX_CODE_BITS:
                raise ValueError("its Huffman tables have no room for the values that restart markers take")
            counts[length - 1] += 1
        return HuffmanTable(tuple(counts), (*self.symbols, *missing))

    def segment(self, number: int) -> bytes:
        """Return the content of its DHT segment; `number` is class << 4 | destination."""
        return bytes([number, *self.counts, *self.symbols])


def parse_tables(body: bytes) -> dict[int, HuffmanTable]:
    """Return the tables of one DHT segment, by class << 4 | destination.

    Raises:
        ValueError: If the segment is cut off.
    """
    tables, at = {}, 0
    while at < len(body):
        counts = tuple(body[at + 1 : at + 17])
        end = at + 17 + sum(counts)
        if len(counts) < 16 or end > len(body):
            raise ValueError("it has a Huffman table that is cut off")
        tables[body[at]] = HuffmanTable(counts, tuple(body[at + 17 : end]))
        at = end
    return tables


@lru_cache(maxsize=64)  # most files have the four tables of the standard
def dc_lookup(table: HuffmanTable) -> list[int]:
    """Return a lookup of DC codes, by the next 16 bits: code length | value bits << 5; 0 for no code."""
    return _lookup({symbol: length | symbol << 5 for symbol, (_, length) in table.codes().items() if symbol < 16}, table)


@lru_cache(maxsize=64)
def ac_lookup(table: HuffmanTable) -> list[int]:
    """Return a lookup of AC codes, by the next 16 bits: length of code and value | coefficients passed << 6; 0 for no code.

    The code that ends a block passes 64 coefficients.
    """
    entries = {}
    for symbol, (_, length) in table.codes().items():
        run, size = symbol >> 4, symbol & 15
        passed = run + 1 if size or run == 15 else 64
        entries[symbol] = length + size | passed << 6
    return _lookup(entries, table)


def _lookup(entries: dict[int, int], table: HuffmanTable) -> list[int]:
    """Return the entry of the symbol whose code begins each number of 16 bits; (65536,)."""
    lookup = np.zeros(1 << MAX_CODE_BITS, np.int64)
    for symbol, (code, length) in table.codes().items():
        lookup[code << MAX_CODE_BITS - length : code + 1 << MAX_CODE_BITS - length] = entries.get(symbol, 0)
    entries_by_bits: list[int] = lookup.tolist()
    return entries_by_bits


@dataclass(frozen=True)
class DCCode:
    """First DC code of one component in an MCU: bits from `begin` to `end`, and the DC value after it."""

    component: int
    begin: int
    end: int
    value: int


MCULayout = list[tuple[int, list[int], list[int]]]
"""Blocks of an MCU, in order: component, DC lookup, AC lookup."""


def scan_mcus(coded: bytes, layout: MCULayout, count: int, every: int) -> tuple[list[list[DCCode]], list[int]]:
    """Scan `count` MCUs, and report one in `every`.

    Args:
        coded: Entropy-coded data, without stuffed zeros.
        layout: Blocks of an MCU.
        count: Number of MCUs.
        every: Interval between reported MCUs.

    Returns:
        The first DC codes of each reported MCU, one per component; and the bit at which each of these MCUs begins, with the bit
        at which the last MCU ends appended.

    Raises:
        ValueError: If the data end too early, or no code begins with the next bits.
    """
    padded = np.frombuffer(coded + bytes(8), np.uint8).astype(np.int64)
    # the 24 bits from each byte on hold 16 of any that begin in that byte
    ahead: list[int] = (padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]).tolist()
    at, limit, values = 0, 8 * len(coded), [0] * (1 + max(component for component, _, _ in layout))
    codes: list[list[DCCode]] = []
    begins: list[int] = []
    for number in range(count):
        reported: list[DCCode] | None = None
        if number % every == 0:
            begins.append(at)
            codes.append(reported := [])
        at = _scan_mcu(ahead, at, limit, layout, values, reported)
    begins.append(at)
    return codes, begins


def _scan_mcu(ahead: list[int], at: int, limit: int, layout: MCULayout, values: list[int], codes: list[DCCode] | None) -> int:
    """Return the bit at which the MCU at bit `at` ends; update DC `values`, and append first DC codes to `codes`, if given."""
    seen = set()
    for component, dc, ac in layout:
        begin = at
        entry = dc[ahead[at >> 3] >> 8 - (at & 7) & 0xFFFF]
        size = entry >> 5
        at += entry & 31
        if size:
            bits = ahead[at >> 3] >> 24 - (at & 7) - size & (1 << size) - 1
            values[component] += bits if bits >> size - 1 else bits - (1 << size) + 1
            at += size
        if not entry or at > limit:
            raise ValueError("its coded data are damaged")
        if codes is not None and component not in seen:
            seen.add(component)
            codes.append(DCCode(component, begin, at, values[component]))
        passed = 1
        while passed < 64:
            entry = ac[ahead[at >> 3] >> 8 - (at & 7) & 0xFFFF]
            if not entry:
                raise ValueError("its coded data are damaged")
            at += entry & 63
            passed += entry >> 6
        if at > limit:
            raise ValueError("its coded data are truncated")
    return at
