"""A text in the two languages that a report is read in, made in one place from the same values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Both:
    """English and Japanese of one text."""

    en: str
    ja: str

    def __add__(self, more: "Both") -> "Both":
        return Both(self.en + more.en, self.ja + more.ja)

    def __bool__(self) -> bool:
        return bool(self.en)


NOT_SAID = Both("", "")


def same(text: str) -> Both:
    """Return what is the same in both: code, a command, a name."""
    return Both(text, text)
