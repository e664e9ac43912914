"""Published scores: the mean, count and variance of each cell, probe and metric, as one Parquet file."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from iikata.core.errors import IikataError
from iikata.core.records import Variant
from iikata.stats.table import NAMED, ScoreTable, checked, variant

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
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        found: dict[str, Any] = {}
        for name in TEXTS:
            column = table[name].combine_chunks().dictionary_encode()
            codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            found[name] = codes, [*column.dictionary.to_pylist(), None]
        return found | {name: table[name].to_numpy().astype(float) for name in NUMBERS}
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise IikataError(f"{path}: no published scores ({error}). iikata study DIR --of RUN writes them.") from None


def read_published(path: Path) -> ScoreTable:
    """Return published scores as the table they were made from, each sample's value its probe's mean.

    That is enough for every comparison, since samples are averaged first. Raises IikataError as `read_columns`.
    """
    found = read_columns(path)
    numbers = {name: found[name] for name in NUMBERS}
    has_mean, has_none = numbers["count"] > 0, numbers["missing"] > 0
    times = np.concatenate([numbers["count"][has_mean], numbers["missing"][has_none]]).astype(int)
    rows = np.repeat(np.concatenate([np.flatnonzero(has_mean), np.flatnonzero(has_none)]), times)
    value = np.repeat(np.concatenate([numbers["mean"][has_mean], np.full(int(has_none.sum()), np.nan)]), times)
    cells, cell = _cells(found, numbers["seed"])
    names: dict[str, list[Any]] = {"cell": cells}
    codes = {"cell": cell[rows].astype(np.int32)}
    for name in ("probe", "cluster", "metric", "signature"):
        codes[name], names[name] = found[name][0][rows].astype(np.int32), found[name][1][:-1]
    line = np.arange(1, len(value) + 1)
    table = ScoreTable(names, codes, _numbered(rows), value, line, str(path), _variants(found))
    return checked(table)


def _numbered(rows: np.ndarray) -> np.ndarray:
    """Return each line's number among those of the same cell, probe and metric."""
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    counted = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    sample = np.empty(len(rows), dtype=np.int64)
    sample[order] = counted
    return sample


def _cells(found: dict[str, Any], seed: np.ndarray) -> tuple[list[tuple[Any, ...]], np.ndarray]:
    """Return the cells in order of appearance, and which of them each row is of."""
    trained, prompted = found["trained_on"], found["prompted_with"]
    seeds = np.where(np.isnan(seed), -1, seed).astype(np.int64)
    unique, place = _distinct(trained[0], seeds, prompted[0])
    return [(trained[1][t], None if s < 0 else int(s), prompted[1][p]) for t, s, p in unique], place


def _variants(found: dict[str, Any]) -> dict[str, Variant]:
    columns = [found[name] for name in ("trained_on", "template", "levels")]
    made = {}
    for row in _distinct(*(codes for codes, _ in columns))[0]:
        name, template, levels = (names[code] for (_, names), code in zip(columns, row, strict=True))
        if name is not None:
            made[name] = variant(name, template, sorted(json.loads(levels or "{}").items()))
    return made


def _distinct(*columns: np.ndarray) -> tuple[list[list[int]], np.ndarray]:
    """Return the rows of these columns in order of appearance, and which of them each is."""
    unique, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return unique[order].tolist(), np.argsort(order)[inverse.reshape(-1)]
