"""What a report is made of: every record of a run that the page and its Markdown twin show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iikata.core.evaluation import Evaluation
from iikata.core.records import Answer, Finding, Gate, Probe, Score, TrainStep, Variant


@dataclass(frozen=True)
class TemplateCard:
    """One template as the report shows it."""

    text: str
    hash: str
    painted: Sequence[tuple[str, bool]] = ()
    """One encoded example, token by token: (text, whether the loss counts it)."""
    newline: str | None = None
    """What is written for a line break in this template's texts; None: the line break itself."""
    template_literals: Sequence[str] = ()
    """Texts of the template that an answer must not contain: where they occur they are marked as leaked."""
    stops: Sequence[str] = ()
    """The tokens and texts at which every cell prompted with this template stops answering."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report shows; the report adds nothing but the means of the matrix."""

    name: str
    experiment: str
    """The frozen experiment.yaml, as text."""
    signature: Mapping[str, Any]
    """Software versions, hashes, device, threads; may nest."""
    comparisons: Mapping[str, Any]
    """comparisons.json: {"comparisons": [...], "verdict": {...}, ...}."""
    scores: Mapping[str, Sequence[Score]]
    """Metric name -> its scores."""
    metrics: Mapping[str, Any]
    """Metric name -> an object with better, bounds, unit, kind and signature; the primary metric first."""
    probes: Sequence[Probe]
    answers: Sequence[Answer]
    templates: Mapping[str, TemplateCard]
    steps: Mapping[str, Sequence[TrainStep]]
    """Arm name -> its loss curve."""
    findings: Sequence[Finding]
    gates: Sequence[Gate]
    costs: Sequence[Mapping[str, Any]]
    """One a stage: stage, seconds, tokens, peak_bytes; what is not known is None or absent."""
    counts: Mapping[str, Any]
    """{"data": {what: rows, or {"rows": ..., "examples": [where]}}, "templates": {name: {what: count}}}."""
    command: str
    """What to type to make this run again."""
    ratings: Mapping[str, Any] | None = None
    """What all blind ratings say together: ratings, raters {name: choices}, skipped, same, shared, agreement,
    win_rates [{first, second, wins, ties, losses, rate, by_cluster}] and strengths [{trained_on, prompted_with,
    strength, interval}], the strongest first; a cell is (trained_on, prompted_with). None: nobody rated."""
    declared: Mapping[str, Any] | None = None
    """When margin, primary metric and alpha were declared ("at"), and whether scores existed then ("after_scores")."""
    devices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Device -> the arms that it trained, where there were several devices."""
    halvings: Sequence[Mapping[str, Any]] = ()
    """Where memory ran out: stage ("train", "generate", "score") and what was gone on with (to)."""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    """What was trained, by name; one that is missing is a template's."""
    evaluations: Mapping[str, Sequence[Evaluation]] = field(default_factory=dict)
    """Arm name -> what it came to on held-out rows while it was trained."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """All that the experiment declares, defaults too."""
    model: str = ""
    """What the base model is called; a folder without the way to it."""
    data: Sequence[str] = ()
    """What the rows to train on are called; files without the way to them."""
    export: str | None = None
    """What to type to export the arm that the advice recommends; None where it recommends none."""
