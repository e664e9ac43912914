"""What is done where memory runs out: buffers or rows are halved, the run goes on, and its folder remembers it."""

from iikata.core.io import Appender
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned


def note_halving(ctx: RunContext, stage: str, to: int, unit: str) -> None:
    """Tell it now and keep it for the report: from here on only rounding is promised, not equal bytes."""
    ctx.emit(Warned(f"memory ran out: {to} {unit} from now on, which may round otherwise"))
    with Appender(ctx.store.halvings) as file:
        file.add({"stage": stage, "to": to})
