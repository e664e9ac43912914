"""iikata (言い方): does the prompt template matter when you LoRA-fine-tune, and was LoRA needed at all?"""

from typing import TYPE_CHECKING, Any

from iikata.core import VERSION

if TYPE_CHECKING:
    from iikata.api import Run, Table, check, compare, load_run, run

__all__ = ["Run", "Table", "check", "compare", "load_run", "run"]
__version__ = VERSION


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `iikata --help` answers without numpy and torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from iikata import api

    return getattr(api, name)
