"""Spellings of one English word brought to one: initials and abbreviations, articles, &, accents."""

import unicodedata

import regex

# J. K. Rowling, J K Rowling and J・K・ローリング become JK; SQuAD's evaluation drops points, and so joins J.K. alone.
INITIAL = regex.compile(r"(?<!\p{L})(\p{Lu})(?:[.・] ?| )(?=\p{Lu}(?:[.・]| \p{Lu}\p{Ll}))")
ABBREVIATION = regex.compile(r"(?<![\p{L}\p{N}])\p{Latin}{1,3}(?:\.\p{Latin}{1,3})+\.?(?!\p{L})")
ONE_LETTER = regex.compile(r"(?<![\p{L}\p{N}\-])(\p{Latin})-(?=\p{Latin}{2})")
"""e-mail and email, T-shirt and Tshirt: dictionaries have both."""
CAPITALS = regex.compile(r"(?<!\p{L})(?:US|IT|WHO)(?![\p{L}$])")
"""Without their capitals these are other words: spelt out, so that the US is not in "tell us"."""
# SQuAD, TriviaQA and MLQA drop articles. A capital A is one only where a sentence begins: not in vitamin A.
# The Who and The It keep theirs: what would be left is found in any text.
WORD = r"(?=[\p{L}\p{N}])(?!(?i:who|the|it|one)\b)"
ARTICLE = regex.compile(rf"(?<![\p{{L}}\p{{N}}'’\-])(?:(?i:the)|an?|(?:(?<=^[\p{{P}}\s]*)|(?<=[.!?:]\s))An?)\s+{WORD}")
POSSESSIVE = regex.compile(r"(?<=\p{Latin})['’]s\b")
"""A word of its own to the Penn Treebank, so that Tokyo is in Tokyo's."""


def respelt(text: str) -> str:
    """Return NFKC `text` in its own case with one spelling for each word that has several."""
    joined = ABBREVIATION.sub(_joined, INITIAL.sub(r"\1", ONE_LETTER.sub(r"\1", text)))
    return CAPITALS.sub(lambda match: " ".join(match[0]), joined).replace(" & ", " and ")


def without_articles(text: str) -> str:
    """Return `text` without a, an and the; an article with nothing behind it stays."""
    return ARTICLE.sub("", text)


def unaccented(text: str) -> str:
    """Return `text` without the accents of Latin letters, which differ in the second place only (UTS #10)."""
    if text.isascii():
        return text
    bare = regex.sub(r"(?<=\p{Latin})\p{Mn}+", "", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFC", bare)


def _joined(match: regex.Match[str]) -> str:
    parts = match[0].strip(".").split(".")
    return "".join(parts) if any(len(part) == 1 for part in parts) else match[0]
