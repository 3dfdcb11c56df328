"""Small texts and tables of them: paragraphs of unlike lengths, and lines whose label one word decides."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

__all__ = ["WORDS", "write_paragraphs", "write_reviews"]

WORDS = ["the", "a", "cat", "dog", "house", "tree", "sees", "likes", "builds", "old", "small", "blue", "under", "over", "and"]


def write_paragraphs(path: Path, count: int = 60, seed: int = 0) -> Path:
    """Write paragraphs of 1 to 40 words, and return the file."""
    rng = np.random.default_rng(seed)
    paragraphs = [" ".join(rng.choice(WORDS, size=rng.integers(1, 41)).tolist()) for _ in range(count)]
    path.write_text("\n\n".join(paragraphs))
    return path


def write_reviews(path: Path, count: int = 60) -> Path:
    """Write a table of texts, `good` where the word cat is in it and else `bad`, and return the file."""
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for number in range(count):
            words = rng.choice([word for word in WORDS if word != "cat"], size=rng.integers(2, 12)).tolist()
            if number % 2:
                words[int(rng.integers(len(words)))] = "cat"
            table.writerow([" ".join(words), "good" if number % 2 else "bad"])
    return path
