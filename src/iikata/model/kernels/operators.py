"""Operators of our own that compiled layers call as they are.

Defined on the library directly: torch.library.custom_op wraps each call in Python layers that took longer, at a few
hundred calls a step, than a small model's kernels. Gradients are autograd functions around them.
"""

from collections.abc import Callable
from typing import Any

import torch

_LIBRARY = torch.library.Library("iikata", "DEF")


def operator(schema: str, run: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Define `torch.ops.iikata.<name>` by its schema; `fake` gives shapes and strides alone."""
    _LIBRARY.define(schema)
    name = schema.partition("(")[0]
    for device in ("CPU", "CUDA"):
        _LIBRARY.impl(name, run, device)
    torch.library.register_fake(f"iikata::{name}", fake, lib=_LIBRARY)
