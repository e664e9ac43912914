"""The lab: an experiment's stages in order, each resuming where it was."""

from iikata.lab.events import Event, Progress, Stage, Stepped, Warned
from iikata.lab.lab import STAGES, Lab

__all__ = ["STAGES", "Event", "Lab", "Progress", "Stage", "Stepped", "Warned"]
