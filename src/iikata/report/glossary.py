"""Ten words and what they mean here; where the verdict uses one of them, it leads to its meaning."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from markupsafe import Markup

from iikata.core.text import escape
from iikata.report.bilingual import resource
from iikata.stats.short_phrases import LANGUAGES


@cache
def glossary() -> Sequence[Mapping[str, Any]]:
    """Return the entries: key, word and said (English, Japanese), and forms, regular expressions of each language."""
    return json.loads(resource("iikata.report", "glossary.json"))  # type: ignore[no-any-return]


@cache
def _forms(language: str) -> re.Pattern[str]:
    place = LANGUAGES.index(language)
    forms = (f"(?P<{one['key']}>{one['forms'][place]})" for one in glossary())
    # English words end where letters do; a name such as template_a or native+seed is no use of the word.
    bounds = (r"(?<![\w+@.-])(?:", r")(?![\w+@-])") if language == "en" else ("(?:", ")")
    return re.compile("|".join(forms).join(bounds))


def explained(text: str, language: str) -> Markup:
    """Return `text` for a page; each word of the glossary is underlined where it first stands, and leads there."""
    shown, parts, end, seen = escape(text), [], 0, set()
    for found in _forms(language).finditer(shown):
        key = str(found.lastgroup)
        if key not in seen:
            seen.add(key)
            entry = next(one for one in glossary() if one["key"] == key)
            said = entry["said"][LANGUAGES.index(language)]
            link = Markup('<a class="term" href="#word-{}" title="{}">{}</a>').format(key, said, found[0])
            parts += [Markup.escape(shown[end : found.start()]), link]
            end = found.end()
    return Markup("").join([*parts, Markup.escape(shown[end:])])
