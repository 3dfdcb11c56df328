"""Findings whose changes are tried out: each gets the share of a pass that its trials save, and goes if they save nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accel.diagnose.findings.all_rules import in_order
from accel.diagnose.findings.finding import Finding
from accel.diagnose.layer_trials.product_trial import saved_seconds
from accel.diagnose.layers.layer_table import LayerTable

__all__ = ["LEAST_GAIN", "TRIED", "tried_findings"]

LEAST_GAIN, LEAST_OF_ANOTHER = 0.02, 0.05
"""Share of a pass that a change has to save here, or it is no advice: a change of shapes, and one that makes another model."""
ANOTHER = frozenset({"unequal_channels", "group_convolutions"})
"""Findings whose change makes another model, which learns otherwise."""
FREE = frozenset({"bias_before_norm"})
"""Findings whose change computes the same and costs nothing: they stay, however little they save."""
TRIED = FREE | ANOTHER | {"channel_multiples", "joinable_layers"}
"""Findings whose gain a trial tells."""


def tried_findings(findings: Sequence[Finding], table: LayerTable, seconds: float) -> list[Finding]:
    """Return findings with the gains that trials of their products tell. Random numbers stay as they are.

    Args:
        findings: of all rules.
        table: that they were found in.
        seconds: for the trials of one finding, about.
    """
    tried = []
    for finding in findings:
        if not finding.trials:
            untried = "not foretold, for these products cannot be computed by themselves"
            tried.append(replace(finding, gain_note=untried) if finding.name in TRIED else finding)
            continue
        gain = table.share(saved_seconds(finding.trials, seconds))
        if gain >= (LEAST_OF_ANOTHER if finding.name in ANOTHER else LEAST_GAIN) or finding.name in FREE:
            note = "; ".join(filter(None, [finding.gain_note, "tried with products of these shapes"]))
            tried.append(replace(finding, gain=max(0.0, gain), gain_note=note))
    return in_order(tried)
