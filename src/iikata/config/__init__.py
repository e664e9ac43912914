"""What the user declares: an experiment as validated settings, read from YAML with line numbers."""

from iikata.config.document import dump, wide
from iikata.config.lora import LoraSettings
from iikata.config.places import SUFFIXES, absolute_path, lm_eval_task, local_path, shown_name, template_name
from iikata.config.read import declare, parse, read, schema
from iikata.config.sections import Columns, DataSettings, Recipe
from iikata.config.settings import Experiment
from iikata.config.variants import FIXED

__all__ = [
    "FIXED",
    "SUFFIXES",
    "Columns",
    "DataSettings",
    "Experiment",
    "LoraSettings",
    "Recipe",
    "absolute_path",
    "declare",
    "dump",
    "lm_eval_task",
    "local_path",
    "parse",
    "read",
    "schema",
    "shown_name",
    "template_name",
    "wide",
]
