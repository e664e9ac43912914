"""Stage check: the template doctor before anything is trained; an error stops the run, --force goes on."""

from collections.abc import Sequence

from iikata import doctor
from iikata.config import local_path
from iikata.core.encoded import Encoded
from iikata.core.errors import IikataError
from iikata.core.records import Finding, plain
from iikata.metrics import get
from iikata.pipeline import elsewhere
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Stage, Told, Warned
from iikata.pipeline.foreseeing import FINDINGS, foresee, refuse_undecided
from iikata.pipeline.signing import sign
from iikata.pipeline.tracking import look_up_trackers
from iikata.run_folder import write_json
from iikata.templates import Template, read_unchecked

LEFT_OUT = ("duplicates", "empty", "unencodable", "overlap", "irregular")


def check(ctx: RunContext) -> dict[str, int]:
    """Examine, then sign the run folder and write the findings.

    Raises IikataError with every error found, unless `ctx.force`. The folder is signed only after that, so that a
    template cured after an error is no edit of the run.
    """
    for line in ctx.data.read_as:
        ctx.emit(Told(line))
    ctx.emit(Stage("check", len({*doctor.RULES, *FINDINGS}), "rules"))
    findings = examine(ctx)
    errors = [finding for finding in findings if finding.severity == "error"]
    hopeless = any(finding.rule in HOPELESS for finding in errors)
    refused, found = errors and (hopeless or not ctx.force), [plain(finding) for finding in findings]
    if refused:
        if not ctx.store.signature.is_file():
            write_json(ctx.store.findings, found)
        found_errors, go_on = REFUSED[ctx.language]
        told = [found_errors.format(len(errors), "s" * (len(errors) > 1))]
        told += [shown(finding, ctx.language) for finding in errors] + ([] if hopeless else [go_on])
        raise IikataError("\n\n".join(told))
    sign(ctx)
    write_json(ctx.store.findings, found)
    for finding in findings:
        if finding.severity != "info":
            (of, *_), message = LABELS[ctx.language], finding.told(ctx.language)["message"]
            forced = " (forced)" if finding.severity == "error" else ""
            about = of.format(finding.template) if finding.template else ""
            ctx.emit(Warned(f"{finding.rule}{forced}: {about}{message}{MORE[ctx.language]}"))
    return {}


def examine(ctx: RunContext) -> list[Finding]:
    """Return what the doctor finds; opens tokenizer, templates and data, never the model's weights."""
    look_up(ctx)
    if ctx.measures:
        refuse_undecided(ctx)
    brought = elsewhere.examine(ctx.experiment, ctx.store, ctx.model_folder, ctx.tokenizer)
    found = [*doctor.examine(case(ctx)), *brought, *(foresee(ctx) if ctx.measures else ())]
    return sorted(found, key=lambda finding: doctor.SEVERITIES.index(finding.severity))


def look_up(ctx: RunContext) -> None:
    """Raise IikataError for a metric or a tracker that there is not, before it costs a training."""
    look_up_trackers(ctx)
    score = ctx.experiment.score
    for name in score.metrics:
        try:
            get(name)
        except IikataError as error:
            raise IikataError(f"{ctx.experiment.at('score', 'metrics')}score.metrics: {error}") from None
    if score.primary not in score.metrics:
        raise IikataError(
            f"{ctx.experiment.at('score')}score.primary: {score.primary} decides where no other metric is named, and "
            f"is not among score.metrics: {', '.join(score.metrics)}. Add it there, or name one of these."
        )


def case(ctx: RunContext) -> doctor.DoctorInput:
    """Return the experiment's inputs, a template that cannot be used with the reason why."""
    data, probes = ctx.data, ctx.probes  # broken, they are no template's fault
    templates: dict[str, Template] = {}
    encoded: dict[str, Sequence[Encoded]] = {}
    broken: dict[str, str] = {}

    for name, spec in ctx.specs.items():
        path = local_path(spec, ctx.experiment.folder, "template")
        saved = path is not None and path.suffix == ".json" and path.is_file()
        try:  # one with faults too: the doctor tells of them
            template = read_unchecked(path) if path and saved else ctx.template(spec)
            for probe in probes:
                template.render(probe.instruction, probe.input, before=probe.before)
            for row in data.validation:
                template.render(*row.texts)
            if data.train and spec in ctx.experiment.trained_templates and not list(template.faults()):
                encoded[name] = ctx.encoded_with(template)
            templates[name] = template
        except IikataError as error:
            broken[name] = str(error)
    return doctor.DoctorInput(ctx.experiment, templates, broken, encoded, ctx.tokenizer, ctx.model_folder, data, probes)


def left_out(ctx: RunContext) -> str:
    """Return a line for each reason for which rows are left out, with the first places."""
    kinds = {kind: getattr(ctx.data.counts, kind) for kind in LEFT_OUT}
    return "".join(
        f"\nleft out, {kind}: {found.rows:,} ({', '.join(found.examples)})"
        for kind, found in kinds.items()
        if found.rows
    )


def summary(ctx: RunContext) -> str:
    """Return what was read, in a line a kind: rows, templates, probes."""
    experiment, counts = ctx.experiment, ctx.data.counts
    left = sum(getattr(counts, kind).rows for kind in LEFT_OUT)
    documents = len(set(ctx.data.clusters.values()))
    held = f"{counts.validation:,} held out" + f" (of {documents:,} documents)" * (documents < counts.validation)
    lines = [
        *ctx.data.read_as,
        (f"{counts.train:,} rows to train on, " if experiment.trains else "nothing to train, ")
        + held
        + f", {left:,} left out" * bool(left),
    ]
    found = {name: local_path(spec, experiment.folder, "template") for name, spec in ctx.specs.items()}
    lines.append("templates: " + ", ".join(f"{name} ({path.name})" if path else name for name, path in found.items()))
    if ctx.probes:
        answered = sum(bool(probe.references or probe.pattern) for probe in ctx.probes)
        choosing = sum(bool(probe.choices) for probe in ctx.probes)
        counted = f"{len(ctx.probes):,} probes, {answered:,} with a reference or a pattern"
        lines.append(counted + f", {choosing:,} with choices" * bool(choosing))
    return "\n".join(lines)


HOPELESS = ("primary", "template")
"""Without a template that can be used, or anything to measure, no force goes on."""
REFUSED = {
    "en": (
        "the template doctor found {} error{}:",
        "To go on all the same (the report will show it): --force",
    ),
    "ja": (
        "テンプレート診断でエラーが {} 件見つかりました:",
        "それでも続けるには（レポートに示します）: --force",
    ),
}
MORE = {"en": " (iikata check says more)", "ja": "（くわしくは iikata check）"}
LABELS = {"en": ("template {}: ", "evidence", "cure"), "ja": ("テンプレート {}: ", "根拠", "対処")}


def shown(finding: Finding, language: str = "en") -> str:
    """Return a finding as lines for a terminal."""
    told, (of, evidence, cure) = finding.told(language), LABELS[language]
    about = of.format(finding.template) if finding.template else ""
    lines = [f"{finding.severity} {finding.rule}", f"  {about}{told['message']}"]
    parts = {evidence: told["evidence"], cure: told["cure"]}
    lines += [f"  {name}: {text}".replace("\n", "\n    ") for name, text in parts.items() if text]
    return "\n".join(lines)
