"""The pipeline: an experiment's stages in order, each resuming where it was."""

from iikata.pipeline.events import Event, Progress, Stage, Stepped, Warned
from iikata.pipeline.pipeline import STAGES, Pipeline

__all__ = ["STAGES", "Event", "Pipeline", "Progress", "Stage", "Stepped", "Warned"]
