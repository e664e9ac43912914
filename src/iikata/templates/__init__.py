"""Templates: how instruction, input and answer become text."""

from iikata.templates.alpaca import AlpacaTemplate
from iikata.templates.built_in import TEMPLATES
from iikata.templates.convert import chat_template, to_alpaca, to_jinja
from iikata.templates.files import load, read_saved, read_unchecked, saved
from iikata.templates.jinja import JinjaTemplate, messages, native, user_message
from iikata.templates.shots import Shots, drawn
from iikata.templates.template import Template

__all__ = [
    "TEMPLATES",
    "AlpacaTemplate",
    "JinjaTemplate",
    "Shots",
    "Template",
    "chat_template",
    "drawn",
    "load",
    "messages",
    "native",
    "read_saved",
    "read_unchecked",
    "saved",
    "to_alpaca",
    "to_jinja",
    "user_message",
]
