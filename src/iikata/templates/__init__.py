"""Templates: how instruction, input and answer become text."""

from iikata.templates.alpaca import AlpacaTemplate
from iikata.templates.built_in import BUILT_IN
from iikata.templates.files import load, read_saved, saved
from iikata.templates.jinja import JinjaTemplate, native
from iikata.templates.template import Template

__all__ = ["BUILT_IN", "AlpacaTemplate", "JinjaTemplate", "Template", "load", "native", "read_saved", "saved"]
