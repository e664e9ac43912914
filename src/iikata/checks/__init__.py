"""Checks: what must hold before a result may be believed."""

from iikata.checks.gates import distinct_templates, live_adapter, sound_training, template_kept

__all__ = ["distinct_templates", "live_adapter", "sound_training", "template_kept"]
