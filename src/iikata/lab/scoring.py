"""Stage score: answers, held-out rows and probe references to numbers."""

from iikata.lab.events import Warned
from iikata.lab.judging import judge
from iikata.lab.likelihood import Asked, held_out, references, score_likelihood
from iikata.lab.materials import Materials
from iikata.lab.rating import score_ratings
from iikata.lab.whole import asked_for
from iikata.metrics import Context, get
from iikata.metrics.pattern import Pattern
from iikata.records import Answer, Cell
from iikata.score import score_answers


def score(lab: Materials) -> dict[str, int]:
    """Write one score file a metric."""
    lab.declare(scored=True)
    answers = _answers(lab)
    probes = {probe.id: probe for probe in lab.probes}
    about = Context(markers={name: template.markers() for name, template in lab.templates.items()})
    rows = sum(score_likelihood(lab, asked) for asked in _asked(lab) if asked.rows)
    for name in lab.experiment.score.metrics:
        metric = get(name)
        if callable(metric) or hasattr(metric, "over"):  # likelihood and ratings do not come from an answer alone
            scores = (s for cell, given in answers.items() for s in score_answers(metric, cell, given, probes, about))
            lab.store.write_scores(metric.name, scores)
            for remark in metric.remarks() if isinstance(metric, Pattern) else ():
                lab.tell(Warned(f"{remark}. Such answers count as not scored; simplify the pattern for another run."))
    every = [answer for given in answers.values() for answer in given]
    judge(lab, every, probes, about)
    score_ratings(lab, every, about)
    return {"answers": sum(map(len, answers.values())), "rows": rows}


def _asked(lab: Materials) -> list[Asked]:
    of_metric = {"nll": held_out, "nll_reference": references}
    return [ask(lab) for name, ask in of_metric.items() if name in lab.experiment.score.metrics]


def _answers(lab: Materials) -> dict[Cell, list[Answer]]:
    return {cell: asked_for(lab, lab.store.read_answers(lab.store.answers(cell))) for cell in lab.experiment.cells()}
