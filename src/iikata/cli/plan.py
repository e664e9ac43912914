"""`iikata plan`: what there is to do and what it could find, printed before anything is trained."""

import argparse
from pathlib import Path
from typing import Any

from iikata.cli.stages import open_pipeline
from iikata.cli.terminal import clock, dumped
from iikata.core.errors import IikataError
from iikata.core.margin import share_of_gain

STATED = ("seed_template", "probe_template", "sample", "residual")


def plan(given: argparse.Namespace) -> None:
    """Print the plan of an experiment."""
    from iikata.pipeline.plan import plan as planned

    stated = {name: value for name in STATED if (value := getattr(given, f"sd_{name}")) is not None}
    if given.price is not None and not 0 < given.price < float("inf"):
        raise IikataError(f"--price {given.price}: the price of an hour of this machine, above 0, is allowed.")
    pilot = Path(given.pilot) if given.pilot else None
    made = planned(open_pipeline(given).context, stated, pilot, given.price)
    print(dumped(made, indent=1) if given.json else "\n".join(lines(made)))


def lines(made: dict[str, Any]) -> list[str]:
    """Return the plan as lines for a terminal."""
    unit, power, margin = made["unit"], made["power"], made["margin"]
    told = [
        f"{made['arms']} arms of {made['variants']} variants, {made['steps']} steps, "
        f"{made['train_tokens']:,} training tokens",
        f"{made['cells']} cells, {made['answers']:,} answers, {made['held_out_rows']:,} held-out rows to score",
    ]
    if made["seconds"]:
        total = sum(made["seconds"].values())
        parts = ", ".join(f"{stage} {clock(seconds)}" for stage, seconds in made["seconds"].items())
        told.append(f"about {clock(total)} at the pilot's speed ({parts})")
    told += _training(made) if made["steps"] else []
    guess = made["estimate"]
    if guess["merged_arms"]:
        told.append(
            f"{guess['merged_arms']} arms are more than plain LoRA: each is merged into a copy of the base in float32, "
            f"one at a time, which takes {guess['copy_bytes'] / 1e9:.1f} GB beside the base"
        )
    told += [
        f"answers at most {clock(guess['generate_seconds'])}, scoring {clock(guess['score_seconds'])}, "
        f"start, check and report {clock(guess['other_seconds'])}",
        f"in all {_spent(made['hours'])} on one {guess['device'].replace('cuda', 'GPU').replace('cpu', 'CPU')}"
        + ("" if made["cost"] is None else f", at a price of {made['cost']:.2f}")
        + (" (at the pilot's speed)" if made["seconds"] else ""),
    ]
    things, several = (made["questions"][0][key] for key in ("things", "several"))
    spread = ", ".join(f"{name} {value:.3g}" for name, value in made["components"].items() if name in STATED)
    told += [
        "",
        f"primary metric {made['primary']} ({unit}), {power['seeds']} {several} x {power['probes']} {things} x "
        f"{power['samples']} samples",
        f"standard deviations: {spread}; {_source(made)}",
        *(one["said"] for one in made["questions"]),
        *(f"not answered: {one}" for one in made["unanswered"]),
    ]
    if made["questions"][0]["question"] != "matched" or power["detectable"] is None:
        return told
    if made["span"] is not None and power["detectable"] >= made["span"]:
        return [*told, f"no difference could be found: the largest there can be is {made['span']:g} {unit}"]
    told += [
        f"smallest difference between {made['levels']} found with 80% power{OF[power['scope']].format(things=things)}: "
        f"{power['detectable']:.3g} {unit}",
        f"smallest margin that could be called EQUIVALENT with 80% power: {power['equivalent_margin']:.3g} {unit}"
        + _against(margin, power["equivalent_margin"]),
    ]
    if power["scope"] == "these_adapters":
        told.append(
            f"from one training to the next the seeds alone move a difference by {power['seed_noise']:.3g} {unit} "
            f"(standard deviation of a mean over {power['seeds']}), which this does not count"
        )
    if power["buys_most"]:
        names = {"seeds": several, "probes": things, "samples": "samples"}
        told.append(
            f"one more seed's worth of compute buys most in {names[power['buys_most']]}: "
            + ", ".join(f"{names[name]} -> {value:.3g}" for name, value in power["more"].items())
        )
    return told


def _spent(hours: float) -> str:
    return f"{hours:.3g} hours" if hours >= 1 else clock(3600 * hours)


def _training(made: dict[str, Any]) -> list[str]:
    guess = made["estimate"]
    times = guess["train_seconds_on"]
    over = f", the base laid over {guess['stages']} devices" if guess["stages"] > 1 else ""
    told = [
        f"training on this machine ({guess['device']}{over}): about {clock(guess['train_seconds'])} and "
        f"{guess['train_bytes'] / 1e9:.1f} GB, in buffers of {guess['buffer_tokens']:,} tokens"
        + (", layers computed twice to save memory" if guess["checkpointed"] else "")
    ]
    if not over:
        spent = ", ".join(map(clock, times.values()))
        told.append(f"on {', '.join(times)} devices like this one: {spent}, and their start")
    return told


OF = {"recipe": "", "these_adapters": ", for these adapters only", "these_probes": ", on these {things} only"}


def _source(made: dict[str, Any]) -> str:
    """Return where the standard deviations come from."""
    source, _, stated = made["components_from"].partition("; stated: ")
    kind, _, run = source.partition(" ")
    told = f"assumed from {made['assumed_from']}: --pilot RUN" if kind == "assumed" else f"estimated from the run {run}"
    return told + (f"; of these you stated {stated}" if stated else "")


def _against(margin: float | str | None, least: float) -> str:
    if margin is None:
        return ""
    if isinstance(margin, str):
        share = share_of_gain(margin) or 1.0
        return f" (declared: {margin}, which is as large where tuning gains {least / share:.3g} or more)"
    return f" (declared: {margin:g}{', too small for this design' if margin < least else ''})"
