"""Tell what a file of scores is instead, by how it begins, and how it becomes lines of JSON."""

from pathlib import Path

from iikata.errors import IikataError
from iikata.registry import did_you_mean

UNICODE = "is UTF-{0}; save it as UTF-8: iconv -f UTF-{0} -t UTF-8 FILE"
ZIPPED = "is a zip archive (or made as one: .xlsx, .npz, .pt); write its scores out as lines of JSON"
PICKLE = "is a pickle, which can run code when it is opened; write its scores out as lines of JSON"
TABLE = "is a {} file; write it out first: pandas.read_{}(FILE).to_json(DEST, orient='records', lines=True)"
BEGINNINGS = {
    b"\x1f\x8b": "is packed with gzip; unpack it first: gunzip FILE",
    b"\x28\xb5\x2f\xfd": "is packed with zstd; unpack it first: unzstd FILE",
    b"BZh": "is packed with bzip2; unpack it first: bunzip2 FILE",
    b"\xfd7zXZ": "is packed with xz; unpack it first: unxz FILE",
    b"PK\x03\x04": ZIPPED,
    b"PAR1": TABLE.format("Parquet", "parquet"),
    b"ARROW1": TABLE.format("Feather", "feather"),
    b"SQLite format 3": "is a database; write its scores out as lines of JSON",
    b"\x93NUMPY": "is an array of NumPy; write its scores out as lines of JSON",
    **{bytes([0x80, version]): PICKLE for version in range(2, 6)},
    b"\xff\xfe\x00\x00": UNICODE.format(32),
    b"\xff\xfe": UNICODE.format(16),
    b"\xfe\xff": UNICODE.format(16),
    b"\x00": "begins with NUL bytes, as a power cut or a full disk leaves them; write it again",
}


def refuse_foreign(path: Path) -> None:
    """Raise IikataError where `path` is no regular file, or holds what no reader of lines could read."""
    if path.is_dir():
        raise IikataError(f"{path}: this is a folder. --scores takes files; those of a run lie in RUN/score/.")
    if not path.exists():
        near = did_you_mean(path.name, [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise IikataError(f"{path}: no such file of scores{near}.")
    if not path.is_file():  # a pipe may never end, a device never does
        raise IikataError(f"{path}: not a regular file. Write the scores into one, and give that.")
    with path.open("rb") as file:
        begins = file.read(16)
    for mark, told in BEGINNINGS.items():
        if begins.startswith(mark):
            raise IikataError(f"{path}: the file {told}. Nothing of it was used.")
