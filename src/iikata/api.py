"""The public Python face: run an experiment, open a finished run, compare scores, examine templates."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.core.records import Finding, Score, plain
from iikata.run_folder import RunFolder, read_json
from iikata.stats import Result

if TYPE_CHECKING:
    from iikata.config import Experiment

SHOWN = 10
"""Rows that a notebook shows of a table."""


class Table(Sequence[dict[str, Any]]):
    """Rows as dicts; `to_pandas()` where pandas is installed."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return Table(self._rows[index]) if isinstance(index, slice) else self._rows[index]

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order in which they first come."""
        return list(dict.fromkeys(name for row in self._rows for name in row))

    def where(self, **wanted: Any) -> "Table":
        """Return the rows in which each named column has this value."""
        return Table(row for row in self._rows if all(row.get(name) == value for name, value in wanted.items()))

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame. Raises ImportError where pandas is not installed."""
        import pandas

        return pandas.DataFrame(self._rows)

    def __repr__(self) -> str:
        return f"Table({len(self):,} rows: {', '.join(self.columns)})"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        cells = [[html.escape(str(row.get(name, ""))) for name in self.columns] for row in self._rows[:SHOWN]]
        body = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in row)}</tr>" for row in cells)
        return f"<table><tr>{head}</tr>{body}</table><p>{len(self):,} rows</p>"


@dataclass(frozen=True)
class Run:
    """A finished run: its verdict and what it rests on."""

    folder: Path
    comparisons_json: Mapping[str, Any]
    """What compare/comparisons.json holds."""

    @property
    def verdict(self) -> Mapping[str, Any]:
        """Whether the factor matters, the prompt must match, LoRA was needed; short answers, advice, sentences."""
        return dict(self.comparisons_json["verdict"])

    @property
    def comparisons(self) -> Table:
        """One row a comparison; docs/statistics.md explains every column."""
        return Table(self.comparisons_json["comparisons"])

    @cached_property
    def scores(self) -> Table:
        """One row a score: trained_on, seed, prompted_with, probe, cluster, sample, metric, value, signature."""
        names = [metric["name"] for metric in self.comparisons_json["settings"]["metrics"]]
        return Table(plain(one) for name in names for one in RunFolder(self.folder).read_scores(name))

    @cached_property
    def answers(self) -> Table:
        """One row an answer: its cell, probe, sample, text and how it ended."""
        store = RunFolder(self.folder)
        return Table(plain(one) for path in store.all_answers() for one in store.read_answers(path))

    @property
    def report(self) -> Path:
        return self.folder / "report" / "index.html"

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {self.verdict['sentence_en']}"

    def _repr_html_(self) -> str:
        from iikata.stats.short import first_lines

        verdict, languages = self.verdict, ("en", "ja")
        lines = [(language, line) for language in languages for line in first_lines(verdict, language)]
        lines += [(language, verdict[f"sentence_{language}"]) for language in languages]
        said = "".join(f'<p lang="{language}">{html.escape(line)}</p>' for language, line in lines)
        return f"<div>{said}<p>{html.escape(str(self.report))}</p></div>"


def run(
    experiment: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    settings: Sequence[str] = (),
    force: bool = False,
    quiet: bool = False,
) -> Run:
    """Do all stages of an experiment and return its run; what is finished is not done again.

    `experiment` is a YAML file, or the same settings as a dict (paths in it are relative to the working folder);
    `settings` are written as for `--set`; `force` goes on although the template doctor found an error. Progress goes
    to stderr unless `quiet`. Raises IikataError for whatever `iikata run` would refuse.
    """
    from iikata.cli.console import Console
    from iikata.pipeline import Pipeline

    if isinstance(experiment, Mapping) and settings:
        raise IikataError("settings go with a file; in a dict, write them where they belong.")
    declared = _declared(experiment, settings)
    folder = Path(out) if out is not None else Path("runs") / declared.name
    Pipeline(declared, folder, (lambda event: None) if quiet else Console()).run(force=force)
    return load_run(folder)


def _declared(experiment: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> "Experiment":
    from iikata.config import declare, read

    if isinstance(experiment, Mapping):
        return declare(dict(experiment), Path.cwd())
    return read(Path(experiment), settings)


def load_run(folder: str | Path) -> Run:
    """Return the finished run in `folder`. Raises IikataError where nothing has been compared there yet."""
    found = read_json(RunFolder(Path(folder)).comparisons)
    if not isinstance(found, dict):
        raise IikataError(f"{folder}: nothing has been compared here yet. First: iikata run EXP --out {folder}")
    return Run(Path(folder), found)


def compare(
    scores: str | Path | Iterable[Score | Mapping[str, Any]],
    metric: str,
    margin: float | str | None = None,
    *,
    alpha: float = 0.05,
    better: str | None = None,
    factor: str | None = None,
    others: str | None = None,
    choosing_seeds: Sequence[int] = (),
) -> Result:
    """Compare scores of any tool: a file, or score lines as dicts or records; `metric` is the one that decides.

    `margin` is the smallest difference that would matter, declared beforehand, or "10% of gain". `better` ("higher",
    "lower") is for a metric that iikata does not know. `factor`, `others` and `choosing_seeds` are compare.factor and
    so on of an experiment. Raises IikataError as `iikata compare --scores` does.
    """
    from iikata.metrics import METRICS
    from iikata.stats import compare as compared
    from iikata.stats import read_table

    return compared(
        read_table(Path(scores))
        if isinstance(scores, str | Path)
        else [one if isinstance(one, Score) else _score(one) for one in scores],
        METRICS,
        metric,
        {} if margin is None else {metric: margin},
        alpha,
        better={metric: better} if better else {},
        factor=factor,
        others=others,
        choosing_seeds=choosing_seeds,
    )


def _score(line: Mapping[str, Any]) -> Score:
    defaults = {"trained_on": None, "seed": None, "cluster": line.get("probe", ""), "sample": 0, "signature": ""}
    try:
        return Score(**{**defaults, **line})
    except TypeError as error:
        raise IikataError(f"{dict(line)}: this is no score line ({error}). docs/statistics.md shows one.") from None


def check(experiment: str | Path | Mapping[str, Any]) -> list[Finding]:
    """Return the template doctor's findings; nothing is trained and no weights are loaded."""
    import tempfile

    from iikata.pipeline import Pipeline
    from iikata.pipeline.stages.check import examine

    with tempfile.TemporaryDirectory() as folder:  # examining writes nothing, but a context names a run folder
        return examine(Pipeline(_declared(experiment), Path(folder)).context)
