"""Checks: what must hold before a result may be believed."""

from iikata.doctor.doctor_input import DoctorInput
from iikata.doctor.gates import distinct_templates, live_adapter, live_copy, sound_training, template_kept
from iikata.doctor.rules import RULES, SEVERITIES, examine

__all__ = [
    "RULES",
    "SEVERITIES",
    "DoctorInput",
    "distinct_templates",
    "examine",
    "live_adapter",
    "live_copy",
    "sound_training",
    "template_kept",
]
