"""The pipeline: an experiment's stages in order, each resuming where it was."""

from iikata.pipeline.events import Evaluated, Event, Progress, Stage, Stepped, Told, Warned
from iikata.pipeline.pipeline import STAGES, Pipeline

__all__ = ["STAGES", "Evaluated", "Event", "Pipeline", "Progress", "Stage", "Stepped", "Told", "Warned"]
