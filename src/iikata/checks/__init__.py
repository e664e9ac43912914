"""Checks: what must hold before a result may be believed."""

from iikata.checks.case import Case
from iikata.checks.doctor import RULES, SEVERITIES, examine
from iikata.checks.gates import distinct_templates, live_adapter, sound_training, template_kept

__all__ = [
    "RULES",
    "SEVERITIES",
    "Case",
    "distinct_templates",
    "examine",
    "live_adapter",
    "sound_training",
    "template_kept",
]
