"""Names of given weights that begin with words which the model's names do not have, such as `module.` or `model.`."""

from __future__ import annotations

from collections.abc import Collection, Iterable

__all__ = ["HEADS", "likely_rename", "without_shared_prefix"]

HEADS = 30
"""First words that are tried, at most."""


def without_shared_prefix(names: Iterable[str], model_names: Collection[str]) -> tuple[dict[str, str], str]:
    """Return the names without the first words that all share and no name of the model begins with, and these words.

    Nothing is left out if no name fits the model then.

    >>> without_shared_prefix(["module.net.weight", "module.net.bias"], {"net.weight", "net.bias"})
    ({'module.net.weight': 'net.weight', 'module.net.bias': 'net.bias'}, 'module.')
    """
    names = list(names)
    heads = {name.partition(".")[0] for name in model_names}
    prefix = ""
    while names:
        words = {name[len(prefix) :].partition(".")[0] for name in names}
        if len(words) != 1 or words & heads or not all("." in name[len(prefix) :] for name in names):
            break
        prefix += f"{words.pop()}."
    short = {name: name[len(prefix) :] for name in names}
    return (short, prefix) if prefix and not set(model_names).isdisjoint(short.values()) else ({}, "")


def likely_rename(names: Collection[str], model_names: Collection[str]) -> str:
    """Return a rule of `init.rename`, as it is typed, by which more names would fit the model; empty if there is none.

    It takes a first word away from all names that have it, puts another one in its place, or puts one before all names.

    >>> likely_rename(["stem.weight", "stem.bias"], {"body.stem.weight", "body.stem.bias", "head.weight"})
    '{*:body.*}'
    """
    own, heads = set(model_names), sorted({name.partition(".")[0] for name in model_names})[:HEADS]
    rules = {f"{{*:{new}.*}}": {f"{new}.{name}" for name in names} for new in heads}
    for head in sorted({name.partition(".")[0] for name in names})[:HEADS]:
        below = {name.removeprefix(f"{head}.") for name in names if name.startswith(f"{head}.")}
        rules[f"{{{head}.*:*}}"] = below
        rules |= {f"{{{head}.*:{new}.*}}": {f"{new}.{name}" for name in below} for new in heads}
    counts = {rule: len(own & new_names) for rule, new_names in rules.items()}
    best = max(sorted(counts), key=counts.__getitem__, default="")
    likely = 2 * counts.get(best, 0) >= min(len(own), len(names))  # two models of nothing in common share a name by chance
    return best if likely and counts[best] > len(own & set(names)) else ""
