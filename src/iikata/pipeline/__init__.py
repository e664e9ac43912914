"""The pipeline: an experiment's stages in order, each resuming where it was."""

from iikata.pipeline.events import Evaluated, Event, Progress, Stage, Stepped, Told, Warned
from iikata.pipeline.pipeline import Pipeline

__all__ = ["Evaluated", "Event", "Pipeline", "Progress", "Stage", "Stepped", "Told", "Warned"]
