"""Draw an SVG as a PNG with the fonts of this machine, and tell what cannot be drawn here."""

import re
from functools import cache

FAMILIES = (
    '"Hiragino Sans","Noto Sans CJK JP","Noto Sans JP","Yu Gothic UI",IPAPGothic,"DejaVu Sans","Liberation Sans",Arial'
)
"""resvg looks for names and asks the system for no default: one of these is on most machines."""
SAMPLES = (
    ("A", re.compile("[!-~]"), "no font: install one, such as DejaVu Sans (Debian: fonts-dejavu-core)"),
    (
        "言",
        re.compile("[\u3040-\u30ff\u4e00-\u9fff]"),
        "no Japanese font: install one, such as Noto Sans CJK JP (Debian: fonts-noto-cjk)",
    ),
)
"""A character, the texts that it speaks for, and what is missing where nothing is drawn for it."""

NO_CHARACTER = "\U0010fffd"
"""For private use, and the last: no font has it."""


def lacking(svg: str) -> str | None:
    """Return why this machine cannot draw the texts of `svg`, and what to do; None where it can."""
    try:
        import resvg_py  # noqa: F401
    except ImportError:
        return "resvg-py is not installed: pip install resvg-py"
    return next((f"this machine has {why}" for one, of, why in SAMPLES if of.search(svg) and not _seen(one)), None)


def png(svg: str, scale: float = 1) -> bytes:
    """Return `svg` as a PNG on white, `scale` pixels a unit; what no font has is left out, or an empty box."""
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, background="#fff", zoom=scale))


@cache
def _seen(character: str) -> bool:
    """Return whether some font draws a character: what no font has leaves no mark, or an empty box."""
    return _drawn(character) != _drawn(NO_CHARACTER)


def _drawn(character: str) -> bytes:
    text = f"<text y='30' style='font:24px {FAMILIES}'>{character}</text>"
    return png(f"""<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{text}</svg>""")
