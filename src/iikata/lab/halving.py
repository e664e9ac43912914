"""What is done where memory runs out: buffers or rows are halved, the run goes on, and its folder remembers it."""

from iikata.disk import Appender
from iikata.lab.events import Warned
from iikata.lab.materials import Materials


def note_halving(lab: Materials, stage: str, to: int, unit: str) -> None:
    """Tell it now and keep it for the report: from here on only rounding is promised, not equal bytes."""
    lab.tell(Warned(f"memory ran out: {to} {unit} from now on, which may round otherwise"))
    with Appender(lab.store.halvings) as file:
        file.add({"stage": stage, "to": to})
