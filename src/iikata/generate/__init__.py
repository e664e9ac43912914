"""Prompts in, answers out: every cell answers every probe, all adapters mixed over one resident base."""

from iikata.generate.engine import Shapes, generate
from iikata.generate.in_flight import Completion, Request
from iikata.generate.sampling import Sampling

__all__ = ["Completion", "Request", "Sampling", "Shapes", "generate"]
