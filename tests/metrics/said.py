"""Short ways to write an answer and a probe."""

from iikata.core.records import Answer, Probe


def said(text: str, finish: str = "stop", **where: object) -> Answer:
    place = {"trained_on": "alpaca", "seed": 0, "prompted_with": "alpaca", "probe": "p1", "sample": 0, **where}
    return Answer(text=text, finish=finish, tokens=len(text), **place)  # type: ignore[arg-type]


def asked(*references: str, instruction: str = "What is it?", pattern: str | None = None) -> Probe:
    return Probe("p1", instruction, references=references, pattern=pattern, cluster="c1")
