"""The local page: follow a run, rate its answers blind, ask every cell."""

from iikata.serve.server import serve

__all__ = ["serve"]
