"""Published scores: the mean, count and variance of each cell, probe and metric, as one Parquet file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from iikata.core.errors import IikataError
from iikata.stats.table import ASKED, NAMED, SCORED, ScoreTable, TableWriter

TEXTS = ("trained_on", "prompted_with", "template", "levels", "probe", "cluster", "metric", "signature")
NUMBERS = {"seed": "int64", "mean": "float64", "count": "int64", "missing": "int64", "variance": "float64"}


def condensed(table: ScoreTable) -> dict[str, list[Any]]:
    """Return the columns of a table's cells, probes and metrics, samples put together.

    `mean` and `variance` (n - 1 below it; None below two) are of the `count` samples with a number, `missing` counts
    those without.
    """
    shape = tuple(len(table.names[name]) for name in ("metric", "cell", "probe"))
    key = np.ravel_multi_index([table.codes[name] for name in ("metric", "cell", "probe")], shape)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    good, size = np.isfinite(table.value), len(first)
    value = np.where(good, table.value, 0.0)
    count = np.bincount(group, good, size).astype(int)
    mean = np.divide(np.bincount(group, value, size), count, out=np.zeros(size), where=count > 0)
    squares = np.bincount(group, np.where(good, (value - mean[group]) ** 2, 0.0), size)
    names = {name: [table.names[name][code] for code in table.codes[name][first]] for name in NAMED}
    recipes = [table.variants.get(cell[0]) for cell in names["cell"]]
    return {
        "trained_on": [cell[0] for cell in names["cell"]],
        "seed": [cell[1] for cell in names["cell"]],
        "prompted_with": [cell[2] for cell in names["cell"]],
        "template": [one and "|".join(one.templates) for one in recipes],
        "levels": [json.dumps(dict(one.levels)) if one and one.levels else None for one in recipes],
        **{name: names[name] for name in ("probe", "cluster", "metric", "signature")},
        "mean": [one if n else None for one, n in zip(mean.tolist(), count.tolist(), strict=True)],
        "count": count.tolist(),
        "missing": (np.bincount(group, minlength=size) - count).tolist(),
        "variance": [s / (n - 1) if n > 1 else None for s, n in zip(squares.tolist(), count.tolist(), strict=True)],
    }


def write_published(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write the columns; equal columns give equal bytes under one version of pyarrow."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {**dict.fromkeys(TEXTS, pa.string()), **{name: pa.type_for_alias(kind) for name, kind in NUMBERS.items()}}
    table = pa.table({name: pa.array(column, kinds[name]) for name, column in columns.items()})
    parquet.write_table(table, path, compression="zstd")


def read_columns(path: Path) -> dict[str, Any]:
    """Return the file's columns: texts as (codes, names), numbers as arrays (a missing one is NaN).

    Raises IikataError where the file is no Parquet file or lacks a column.
    """
    table, found = _table(path), {}
    for name in TEXTS:
        column = table[name].combine_chunks().dictionary_encode()
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        found[name] = codes, [*column.dictionary.to_pylist(), None]
    return found | {name: table[name].to_numpy().astype(float) for name in NUMBERS}


def read_published(path: Path) -> ScoreTable:
    """Return published scores as the table they were made from, each sample's value its probe's mean.

    That is enough for every comparison, since samples are averaged first. Raises IikataError as `read_columns`.
    """
    found, writer = _table(path), TableWriter()
    columns = {name: found[name].to_pylist() for name in (*SCORED, *ASKED)}
    levels = {told: tuple(sorted(json.loads(told or "{}").items())) for told in set(columns["levels"])}
    columns["levels"] = [levels[told] for told in columns["levels"]]
    scored, asked = (zip(*(columns[name] for name in names), strict=True) for names in (SCORED, ASKED))
    for line, row in enumerate(zip(scored, asked, found["mean"].to_numpy().tolist(), strict=True), start=1):
        writer.add(*row[:2], 0, row[2], line)
    table, count = writer.table(str(path)), found["count"].to_numpy()
    times = count + found["missing"].to_numpy()
    rows = np.repeat(np.arange(len(table)), times)
    sample = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    value = np.where(sample < count[rows], table.value[rows], np.nan)
    codes = {name: column[rows] for name, column in table.codes.items()}
    return replace(table, codes=codes, sample=sample, value=value, line=table.line[rows])


def _table(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return parquet.read_table(path).select([*TEXTS, *NUMBERS])
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise IikataError(f"{path}: no published scores ({error}). iikata study DIR --of RUN writes them.") from None
