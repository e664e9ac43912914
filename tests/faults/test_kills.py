"""A run that is killed or cut from its power at any moment ends with the bytes of an undisturbed one."""

import json
import random
from collections import Counter
from pathlib import Path

from crash import Child, at_change, count_changes, die, ended, tear

from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline

KILLS, QUICK_KILLS = 100, 4


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, declared, whole, tally, long):
    reference, seconds = whole
    chance, stages, kills, runs = random.Random(8), Counter(), 0, 0
    while kills < (KILLS if long else QUICK_KILLS):
        out, runs = tmp_path / str(runs), runs + 1
        alive = True
        while alive and kills < (KILLS if long else QUICK_KILLS):
            child = Child(declared, out)
            alive = child.kill(after=chance.uniform(0.02, 1.1 * seconds))
            if alive:
                kills += 1
                stages[child.stages[-1] if child.stages else "start"] += 1
        ended(declared, out, reference, tally)
    tally("kills survived", kills)
    for stage, times in stages.items():
        tally(f"kills survived in {stage}", times)
    if long:
        assert set(stages) >= {"check", "train", "generate", "score", "report"}  # the others last milliseconds


def test_killed_before_any_change_of_a_file_it_ends_with_the_same_bytes(tmp_path, declared, whole, tally, long):
    changes = count_changes(declared, tmp_path / "counted")
    assert changes > 100
    moments = range(1, changes + 1) if long else sorted(random.Random(8).sample(range(1, changes + 1), 3))
    for number in moments:
        out = tmp_path / str(number)
        if Child(declared, out, at_change(number, out, die)).wait() == 0:
            continue  # its saved states are written as time allows, so runs differ in how often they write
        tally("kills survived")
        ended(declared, out, whole[0], tally)


def test_after_a_power_cut_it_ends_with_the_same_bytes(tmp_path, declared, whole, tally, long):
    """The block written last is cut or full of zeros, whatever file it belongs to."""
    chance, cures = random.Random(9), Counter()
    for number in range(60 if long else 3):
        out = tmp_path / str(number)
        Child(declared, out).kill(after=chance.uniform(0.3, 1.0) * whole[1])
        told = tear(out, chance)
        tally("faults injected")
        gone: Counter[str] = Counter()
        while refused := refusal(declared, out):  # of a file that cannot be made out of others
            damaged = next(path for path in out.rglob("*") if path.is_file() and str(path) in refused)
            assert "elete" in refused, told
            gone[damaged.name] += 1
            damaged.unlink()
        cures += gone
        if not (gone["signature.json"] and declared_after_its_scores(declared, out)):
            ended(declared, out, whole[0], tally)
    print(f"files deleted as the message said: {dict(cures)}")


def declared_after_its_scores(declared, out: Path) -> bool:
    """Whether the run's declaration was lost beside scores: that it came before them is not known then, and told so."""
    assert Child(declared, out).wait() == 0
    first, *_ = json.loads((out / "signature.json").read_text(encoding="utf-8"))["declared"]
    return bool(first["after_scores"])


def refusal(declared, out: Path) -> str:
    try:
        Pipeline(declared, out).run()
    except IikataError as error:
        return str(error)
    return ""
