"""Stage check: the template doctor before anything is trained; an error stops the run, --force goes on."""

from collections.abc import Sequence

from iikata import checks
from iikata.errors import IikataError
from iikata.experiment import template_name
from iikata.lab.events import Stage, Warned
from iikata.lab.materials import Materials
from iikata.metrics import get
from iikata.records import Encoded, Finding, plain
from iikata.store import write_json
from iikata.templates import Template, load, read_unchecked


def check(lab: Materials) -> dict[str, int]:
    """Examine, then sign the run folder and write the findings.

    Raises IikataError with every error found, unless `lab.force`. The folder is signed only after that, so that a
    template cured after an error is no edit of the run.
    """
    lab.tell(Stage("check", len(checks.RULES), "rules"))
    findings = examine(lab)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors and not lab.force:
        if not lab.store.signature.is_file():
            _write(lab, findings)
        raise IikataError(
            f"the template doctor found {len(errors)} error{'s' * (len(errors) > 1)}:\n\n"
            + "\n\n".join(map(shown, errors))
            + "\n\nTo go on all the same (the report will show it): --force"
        )
    lab.sign()
    _write(lab, findings)
    for finding in findings:
        if finding.severity != "info":
            forced = " (forced)" if finding.severity == "error" else ""
            lab.tell(Warned(f"{finding.rule}{forced}: {_of(finding)}{finding.message} (iikata check says more)"))
    return {}


def examine(lab: Materials) -> list[Finding]:
    """Return what the doctor finds; opens tokenizer, templates and data, never the model's weights."""
    look_up_metrics(lab)
    return checks.examine(case(lab))


def look_up_metrics(lab: Materials) -> None:
    """Raise IikataError for a metric that there is not; found out after the training, it would cost the training."""
    score = lab.experiment.score
    for name in score.metrics:
        try:
            get(name)
        except IikataError as error:
            raise IikataError(f"score.metrics: {error}") from None
    if score.primary not in score.metrics:
        raise IikataError(
            f"score.primary: {score.primary} decides where no other metric is named, and is not among score.metrics: "
            f"{', '.join(score.metrics)}. Add it there, or name one of these as score.primary."
        )


def case(lab: Materials) -> checks.Case:
    """Return the experiment's inputs, a template that cannot be used with the reason why."""
    data, probes = lab.data, lab.probes  # broken, they are no template's fault
    templates: dict[str, Template] = {}
    encoded: dict[str, Sequence[Encoded]] = {}
    broken: dict[str, str] = {}
    trained = lab.experiment.templates
    for spec in (*trained, *lab.experiment.prompt_only):
        name = template_name(spec)
        try:
            template = _open(lab, spec)
            for probe in probes:
                template.render(probe.instruction, probe.input)
            for row in data.validation:
                template.render(row.instruction, row.input, row.output)
            if spec in trained and not list(template.faults()):
                encoded[name] = lab.encoded_with(template)
            templates[name] = template
        except IikataError as error:
            broken[name] = str(error)
    return checks.Case(templates, broken, encoded, lab.tokenizer, lab.model_folder, data, probes)


def shown(finding: Finding) -> str:
    """Return a finding as lines for a terminal."""
    lines = [f"{finding.severity} {finding.rule}", f"  {_of(finding)}{finding.message}"]
    parts = {"evidence": finding.evidence, "cure": finding.cure}
    lines += [f"  {name}: {text}".replace("\n", "\n    ") for name, text in parts.items() if text]
    return "\n".join(lines)


def _of(finding: Finding) -> str:
    return f"template {finding.template}: " if finding.template else ""


def _open(lab: Materials, spec: str) -> Template:
    path = lab.experiment.folder / spec
    if path.suffix == ".json":  # one with faults too: the doctor tells of them
        return read_unchecked(path)
    return load(spec, lab.experiment.folder, lab.tokenizer.chat_template, lab.tokenizer.named_tokens)


def _write(lab: Materials, findings: Sequence[Finding]) -> None:
    write_json(lab.store.findings, [plain(finding) for finding in findings])
