"""Read the rows of a data set on the Hugging Face hub."""

import logging
from collections.abc import Iterator

from iikata.core.errors import IikataError
from iikata.data.rows import Row

INSTEAD = "Or give a local file: data: {train: rows.jsonl} (json, jsonl, csv, parquet)."


def read_hub(name: str, near: str = "") -> Iterator[Row]:
    """Yield the rows of the split `train` of the data set `name`, placed `name: row 17`.

    `near` is said of a file here that is spelled alike. Raises IikataError where the package `datasets` is not
    installed or the data set cannot be had.
    """
    try:
        import datasets
    except ImportError:
        message = f'"{name}" is no file here{near}; as a data set on the hub it needs: pip install "iikata[hub]".'
        raise IikataError(f"{message} {INSTEAD}") from None
    # Without a network it tells of each of its retries, for half a minute.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        for number, row in enumerate(datasets.load_dataset(name, split="train"), start=1):
            yield f"{name}: row {number}", dict(row)
    except Exception as error:
        # datasets, huggingface_hub, requests and pyarrow each raise their own kinds.
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise IikataError(
            f'"{name}" is no file here{near}, and the hub does not give it ({why}). '
            f"Check the id and the network. {INSTEAD}"
        ) from None
