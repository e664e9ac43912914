"""Prompts in, answers out: every cell answers every probe, adapters over one resident base."""

from iikata.generate.engine import Reply, Request, Shapes, generate
from iikata.generate.sampling import Sampling

__all__ = ["Reply", "Request", "Sampling", "Shapes", "generate"]
