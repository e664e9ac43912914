"""Currencies and units behind a number under one name: $5 and 5 dollars, 3 kilometres and 3キロメートル."""

import regex

from iikata.metrics.numerals import DIGIT

# Names of the SI Brochure (9th edition), 計量単位令 (1992) and NIST Handbook 44; of currencies, the Unicode CLDR's.
METRE, GRAM, LITRE = r"met(?:er|re)s?", r"grams?", r"lit(?:er|re)s?"
NAMES = {
    "$": r"(?:us )?dollars?|米?ドル|usd",
    "円": r"yen|jpy",
    "€": r"euros?|ユーロ|eur",
    "%": r"per ?cent|パーセント",
    "°c": r"°c|degrees celsius",
    " km2": rf"km2|square kilo{METRE}|平方キロメートル",
    " m2": rf"m2|square {METRE}|平方メートル",
    " km": rf"km|kilo{METRE}|キロメートル",
    " cm": rf"cm|centi{METRE}|センチメートル",
    " mm": rf"mm|milli{METRE}|ミリメートル",
    " m": rf"m|{METRE}|メートル",
    " kg": rf"kg|kilo{GRAM}|キログラム",
    " mg": rf"mg|milli{GRAM}|ミリグラム",
    " g": rf"g|{GRAM}|グラム",
    " ml": rf"ml|milli{LITRE}|ミリリットル",
    " l": rf"l|{LITRE}|リットル",
    **{" ft": "ft|feet|foot", " in": "in|inch(?:es)?", " mi": "mi|miles?", " lb": "lbs?|pounds?", " oz": "oz|ounces?"},
    **{f" {symbol}": symbol for symbol in ("am", "pm", "mph", "kw", "mw", "hz", "khz", "mhz", "ghz", "mb", "gb", "tb")},
}
SYMBOLS = list(NAMES)
BEHIND = regex.compile(
    r"(?<=[0-9]) ?(?:" + "|".join(f"({names})" for names in NAMES.values()) + r")(?![\p{Latin}ァ-ヺー0-9])"
)
BEFORE = regex.compile(r"(?:us)?([$¥€£]) ?([0-9]+(?:\.[0-9]+)?)")
LAST_ZEROS = regex.compile(r"(?<=[0-9]\.[0-9]*[1-9])0+(?=[$円€£%])")


def unified(text: str) -> str:
    """Return lower-case NFKC `text`, its numbers in digits, with one name for each unit; money without last zeros."""
    if not DIGIT.search(text):
        return text
    text = BEFORE.sub(lambda match: match[2] + match[1].replace("¥", "円"), text)
    text = BEHIND.sub(lambda match: SYMBOLS[(match.lastindex or 1) - 1], text)
    return LAST_ZEROS.sub("", text)
