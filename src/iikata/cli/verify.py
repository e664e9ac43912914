"""`iikata verify`: whether a server serves an arm, endpoint by endpoint, with the answers where it does not."""

import argparse
import os
import textwrap
from typing import Any

from iikata.cli.stages import open_pipeline
from iikata.cli.terminal import dumped
from iikata.core.errors import IikataError


def verify(given: argparse.Namespace) -> int:
    """Print what the server serves; 0 where it is the arm, prompted as it was trained, else 1."""
    from iikata.pipeline.openai_server import KEY, OpenAiServer
    from iikata.pipeline.verify import verify as verified

    if given.probes < 1 or not given.timeout > 0:
        raise IikataError(f"--probes {given.probes}, --timeout {given.timeout:g}: 1 or more, and above 0, are allowed.")
    server = OpenAiServer(given.endpoint, given.model, os.environ.get(KEY, ""), given.timeout)
    told = verified(open_pipeline(given).context, given.arm, server, given.probes)
    print(dumped(told, indent=1) if given.json else "\n".join(lines(told)))
    return 0 if told["served"] else 1


def lines(told: dict[str, Any]) -> list[str]:
    """Return what was found as lines for a terminal."""
    probes = max(len(route["probes"]) for route in told["routes"])
    text = [f"{told['arm']} (template {told['template']}) at {told['endpoint']}, model {told['model']}"]
    text += [f"{probes} probes, greedy, at most {told['tokens']} tokens each", ""]
    for route in told["routes"]:
        text += [f"{route['route']:<12} {sentence}" for sentence in _sentences(route)]
    text += [f"{name:<12} {NOT_ASKED[name]}" for name in told["not_asked"]]
    if told["served"]:
        return [*text, "", f"served: {told['arm']}, prompted as it was trained"]
    return [*text, *_example(told["routes"]), "", f"NOT served: {told['arm']} as it was trained"]


NOT_ASKED = {
    "completions": "not there: only chat can be verified",
    "chat": "not asked: there is no such endpoint, or every probe has an input, which messages do not carry",
}
SERVES = {
    "arm": "the arm's answers",
    "base": "INERT: the untuned base's answers; the adapter was not loaded, or is empty",
    "other": "OTHER: answers that are neither the arm's nor the base's",
    "untold": "UNKNOWN: arm and base answer these probes alike, and there are no log-probabilities to tell them apart",
}


def _sentences(route: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{name} {count}" for name, count in sorted(route["answers"].items()))
    said = [f"{SERVES[route['serves']]} ({counts})"]
    if route["same_prompt_tokens"] is False:
        seen, own = next(p["prompt_tokens"] for p in route["probes"] if p["prompt_tokens"][0] != p["prompt_tokens"][1])
        like = f"; as {route['looks_like']} would give" if route["looks_like"] else ""
        said.append(f"ANOTHER TEMPLATE or tokenizer: it counted {seen} prompt tokens, trained were {own}{like}")
    elif route["same_prompt_tokens"]:
        said.append("prompt tokens: as many as in training")
    if route["runs_on"]:
        said.append("RUNS ON where the arm ends its answer: the server does not stop at the arm's end token")
    if near := route["logprobs"]:
        off = ": far for the same weights, as of a quantized copy" if near["off"] else ""
        to_arm, to_base = near["to_arm"], near["to_base"]
        said.append(f"log-probabilities: {to_arm:.2g} from the arm's{off}, {to_base:.2g} from the base's")
    else:
        said.append("log-probabilities: none told")
    return said


def _example(routes: list[dict[str, Any]]) -> list[str]:
    """Return the first answer that is not the arm's, beside the arm's and the base's."""
    for route in routes:
        for probe in route["probes"]:
            if not route["fine"] and (probe["by"] != "arm" or probe["runs_on"]):
                said = [f"{who + ':':<8}{textwrap.shorten(text, 160)}" for who, text in probe["answers"].items()]
                return ["", f"for example ({route['route']}): {probe['asked'][0]:.160}", *said]
    return []
