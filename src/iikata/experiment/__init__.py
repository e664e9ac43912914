"""What the user declares: an experiment as validated settings, read from YAML with line numbers."""

from iikata.experiment.document import dump, wide
from iikata.experiment.files import near_file, read_text, size
from iikata.experiment.places import SUFFIXES, absolute_path, local_path, template_name
from iikata.experiment.read import declare, parse, read, schema
from iikata.experiment.settings import (
    Columns,
    CompareSettings,
    DataSettings,
    Experiment,
    GenerateSettings,
    LoraSettings,
    ModelSettings,
    ScoreSettings,
    TrainSettings,
)

__all__ = [
    "SUFFIXES",
    "Columns",
    "CompareSettings",
    "DataSettings",
    "Experiment",
    "GenerateSettings",
    "LoraSettings",
    "ModelSettings",
    "ScoreSettings",
    "TrainSettings",
    "absolute_path",
    "declare",
    "dump",
    "local_path",
    "near_file",
    "parse",
    "read",
    "read_text",
    "schema",
    "size",
    "template_name",
    "wide",
]
