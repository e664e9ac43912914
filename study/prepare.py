"""Turn local copies of the public sources into the study's inputs, the same bytes each time; downloads nothing.

    python study/prepare.py en --from COPIES      English rows, choices and questions
    python study/prepare.py ja --from COPIES      Japanese ones

COPIES holds each source under the path that SOURCES names (`--from` may be given several times); a file of other bytes
is refused. The inputs go to study/inputs/LANGUAGE/, which git ignores: no data of others is in the repository.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCES = {
    # local copy: (where it is published, commit, file there, sha256 of the copy). JSON lists were written a record a
    # line; NIILC-QA's XML became JSON lines; ja-mix-instruct is put together from the four sources that it names.
    "instruction-1100-en/data.jsonl": (
        "https://github.com/rasbt/LLMs-from-scratch",
        "28c65cdfbc3338e2e040016eea4b7fdf556e4d57",
        "ch07/01_main-chapter-code/instruction-data.json",
        "97ca5a5df6a2b15db0422f2c9aa00cc8b28ebfc37f9d8fcfd93856fd1197db53",
    ),
    "commonsenseqa-en/dev-v1.0.jsonl": (
        "https://github.com/salesforce/cos-e",
        "fd0cafcc3e30fd24e3e1742934e8fcbf677315c9",
        "data/v1.0/dev_rand_split.jsonl",
        "790dd2a8492e7f3b51ded04116de603115b7acaded32ea84f6a7101f9d571ac1",
    ),
    "nq-open-en/dev.jsonl": (
        "https://github.com/google-research-datasets/natural-questions",
        "fb26a3073b1fe636c97302890a27b491d6530130",
        "nq_open/NQ-open.dev.jsonl",
        "16bbae2e30bdb39c1f8e62d42fd9333a57216bc8d23084f64bc3db183f10fdbb",
    ),
    "ja-mix-instruct/train-2000.jsonl": (
        "https://github.com/SkelterLabsInc/JaQuAD, yahoojapan/JGLUE, mynlp/niilc-qa, megagonlabs/instruction_ja",
        "23f5d72cc273c49b35e2d9efe0f51757aa1770bd, 6f071c09316baae89c3d083a90985b4b1cb9968c, "
        "b6d47968b2e301a5e953fb1922a08ed56099646b, a72a5d05fd1486c1c3b1e51eb2f362d66e8589dc",
        "data/train, datasets/jcommonsenseqa-v1.3, data, data/data.jsonl",
        "d4104a78ccd2a46ef732bc3217935c879b271bf1fdd367b8eec42a9a3f6421ac",
    ),
    "ja-mix-instruct/valid.jsonl": (
        "as train-2000, from their development and test parts",
        "the same",
        "data/dev, datasets/jcommonsenseqa-v1.3, data, data/data.jsonl",
        "fc2654da9494f6a93212b8b7eb3868bb6d5b529a0a9b5f17ce36f6742f4bc94c",
    ),
    "jcommonsenseqa/valid-v1.3.jsonl": (
        "https://github.com/yahoojapan/JGLUE",
        "6f071c09316baae89c3d083a90985b4b1cb9968c",
        "datasets/jcommonsenseqa-v1.3/valid-v1.3.json",
        "0d8d76f3bfa0d174866939882faccdd01fbc2bcd5a76c43748ba0c40a7b3b8d4",
    ),
    "niilc-qa/test.jsonl": (
        "https://github.com/mynlp/niilc-qa",
        "b6d47968b2e301a5e953fb1922a08ed56099646b",
        "data/NIILC-ECQA2015_test.xml",
        "f6c12e241e6327317fbfcfe2d7e946a35f1cefa96b36cd15efc64501e8135507",
    ),
}
SHUFFLED = (10, 30)
"""Per cent of the training rows whose answers go to another row: the planted effects."""
QUESTIONS = 60
Row = dict[str, Any]


def order(salt: str, text: str) -> str:
    """Return what puts texts into an order that depends on nothing but them."""
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()


def with_cluster(row: Row) -> Row:
    """Return the three texts of a row and what it belongs together with: the same input, else the same instruction."""
    texts = {name: row[name] for name in ("instruction", "input", "output")}
    return {**texts, "cluster": order("cluster", row["input"].strip() or row["instruction"])[:16]}


def split(rows: Sequence[Row], held_out: int, salt: str) -> tuple[list[Row], list[Row]]:
    """Return (rest, held out): whole clusters in the order of their hashes, as long as they fit."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["cluster"]] = sizes.get(row["cluster"], 0) + 1
    taken, count = set(), 0
    for cluster in sorted(sizes, key=lambda name: order(salt, name)):
        if count + sizes[cluster] <= held_out:
            taken.add(cluster)
            count += sizes[cluster]
    return [r for r in rows if r["cluster"] not in taken], [r for r in rows if r["cluster"] in taken]


def shuffled(rows: Sequence[Row], per_cent: int) -> list[Row]:
    """Return the rows with the answers of some passed on in a ring; those of 10% are among those of 30%."""
    ring = sorted(range(len(rows)), key=lambda i: order("shuffle", rows[i]["instruction"] + rows[i]["input"]))
    ring = ring[: len(rows) * per_cent // 100]
    made = [dict(row) for row in rows]
    for here, there in zip(ring, ring[1:] + ring[:1], strict=True):
        made[here]["output"] = rows[there]["output"]
    return made


def questions(found: Iterable[tuple[str, str, list[str]]], seen: set[str], count: int) -> Iterator[Row]:
    """Yield probes that are answered: (id, question, right answers), none that is among the rows."""
    free = sorted((one for one in found if one[1] not in seen), key=lambda one: order("question", one[1]))
    for id, question, answers in free[:count]:
        yield {"id": id, "instruction": question, "references": answers}


def choices(found: Iterable[tuple[str, str, list[str], int]], seen: set[str], count: int) -> Iterator[Row]:
    """Yield probes that are read: (id, question, choices, right one); a question asked twice is one cluster."""
    free = sorted((one for one in found if one[1] not in seen), key=lambda one: order("choice", one[1]))
    for id, question, texts, right in free[:count]:
        cluster = order("choice", question)[:16]
        yield {
            "id": id,
            "cluster": cluster,
            "instruction": question,
            "choices": texts,
            "answer": right,
            "sampled": False,
        }


class Copies:
    """Where the sources lie."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders

    def read(self, name: str) -> list[Row]:
        """Return a source's records; ends the program where it is missing or has other bytes than the study's."""
        path = next((folder / name for folder in self.folders if (folder / name).is_file()), None)
        url, commit, file, expected = SOURCES[name]
        if path is None:
            sys.exit(f"{name}: not in {', '.join(map(str, self.folders))}. It is made from {url} at {commit}: {file}.")
        content = path.read_bytes()
        if (seen := hashlib.sha256(content).hexdigest()) != expected:
            sys.exit(f"{path}: sha256 {seen}, and the study was made with {expected}.")
        return [json.loads(line) for line in content.decode().split("\n") if line.strip()]


def english(copies: Copies) -> tuple[list[Row], list[Row], list[Row], list[Row], int]:
    rows = [with_cluster(row) for row in copies.read("instruction-1100-en/data.jsonl")]
    train, held_out = split(rows, 200, "held out")
    asked = [(f"nq-{n}", r["question"], r["answer"]) for n, r in enumerate(copies.read("nq-open-en/dev.jsonl"))]
    read = []
    for row in copies.read("commonsenseqa-en/dev-v1.0.jsonl"):
        given = row["question"]["choices"]
        right = [choice["label"] for choice in given].index(row["answerKey"])
        read.append((f"csqa-{row['id']}", row["question"]["stem"], [choice["text"] for choice in given], right))
    return train, held_out, asked, read, 100


def japanese(copies: Copies) -> tuple[list[Row], list[Row], list[Row], list[Row], int]:
    train, held_out = (
        [with_cluster(row) for row in copies.read(f"ja-mix-instruct/{name}.jsonl")] for name in ("train-2000", "valid")
    )
    asked = [(row["id"], row["text"], row["answers"]) for row in copies.read("niilc-qa/test.jsonl")]
    read = [
        (f"jcqa-{row['q_id']}", row["question"], [row[f"choice{i}"] for i in range(5)], row["label"])
        for row in copies.read("jcommonsenseqa/valid-v1.3.jsonl")
    ]
    return train, held_out, asked, read, 200


def prepare(language: str, copies: Copies, tiny: bool = False) -> dict[str, list[Row]]:
    """Return every input file's records. `tiny`: a few of each, for trying the way and never for results."""
    train, held_out, asked, read, choosing = {"en": english, "ja": japanese}[language](copies)
    if tiny:
        train, held_out, choosing = train[:60], held_out[:24], 20
    seen = {row["instruction"] for row in (*train, *held_out)}
    tuned, choose = split(train, choosing, "choose")
    probes = [*questions(asked, seen, 4 if tiny else QUESTIONS), *choices(read, seen, 20 if tiny else len(read))]
    made = {"train": train, "held-out": held_out, "probes": probes, "choose-train": tuned, "choose": choose}
    for per_cent in SHUFFLED:
        made[f"shuffled-{per_cent}"] = shuffled(train, per_cent)
        made[f"choose-shuffled-{per_cent}"] = shuffled(tuned, per_cent)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("language", choices=["en", "ja"])
    parser.add_argument("--from", dest="copies", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=HERE / "inputs", help="study/inputs")
    parser.add_argument("--tiny", action="store_true", help="a few rows of each, to try the way")
    given = parser.parse_args()
    folder = given.out / given.language
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in prepare(given.language, Copies(given.copies), given.tiny).items():
        content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records).encode()
        (folder / f"{name}.jsonl").write_bytes(content)
        print(f"{hashlib.sha256(content).hexdigest()}  {given.language}/{name}.jsonl  {len(records)}")


if __name__ == "__main__":
    main()
