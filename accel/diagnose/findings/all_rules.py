"""All rules, and what they find in a table."""

from __future__ import annotations

from collections.abc import Sequence

from accel.diagnose.findings.branches import branches, joinable_layers
from accel.diagnose.findings.channel_multiples import channel_multiples
from accel.diagnose.findings.element_wise import depthwise_share, element_wise_share, fusible_layers
from accel.diagnose.findings.finding import Finding, Rule
from accel.diagnose.findings.idle_parameters import unused_parameters, without_gradient
from accel.diagnose.findings.layout_changes import layout_changes, memory_order
from accel.diagnose.findings.memory_access_cost import group_costs, unequal_channels
from accel.diagnose.findings.normalisation_pairs import bias_before_norm, foldable_norms
from accel.diagnose.findings.roof_gaps import far_from_roof
from accel.diagnose.findings.slow_lines import array_copies, device_copies, host_reads_of_model
from accel.diagnose.findings.time_between import time_between_operators
from accel.diagnose.layers.layer_table import LayerTable

__all__ = ["RULES", "all_findings", "in_order"]

RULES: tuple[Rule, ...] = (
    memory_order, time_between_operators, far_from_roof, fusible_layers, element_wise_share, depthwise_share, channel_multiples,
    unequal_channels, group_costs, branches, joinable_layers, layout_changes, bias_before_norm, foldable_norms,
    unused_parameters, without_gradient, host_reads_of_model, device_copies, array_copies,
)  # fmt: skip


def all_findings(table: LayerTable) -> list[Finding]:
    """Return what all rules find. The gains of changes that are to be tried are not known yet: see `tried_findings`."""
    return in_order([finding for rule in RULES for finding in rule(table)])


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings in order: what saves most, then what saves at most something, then the others, in the order of the rules."""
    return sorted(findings, key=lambda finding: (-(finding.gain or 0.0), -(finding.ceiling or 0.0)))
