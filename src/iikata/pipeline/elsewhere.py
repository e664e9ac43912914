"""Adapters that were trained elsewhere: where they lie, what they say of themselves, and whether two are one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import tokenize
from iikata.config import Experiment
from iikata.core.bilingual import Both
from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.core.records import Arm, Finding
from iikata.pipeline.opening import devices_of
from iikata.pipeline.signature import digest, model_fingerprint
from iikata.run_folder import RunFolder, read_object

BESIDE = Both(
    "Its copy of the base, in float32, needs memory beside the base (iikata plan says how much), one at a time. Give "
    "model.dtype: float32, so that the others do not round where it does not.",
    "float32 の複製のため、ベースモデルのほかに一つ分ずつメモリが要ります（量は iikata plan で分かります）。"
    "ほかのアームと丸めをそろえるには model.dtype: float32 を指定します。",
)

if TYPE_CHECKING:
    from iikata.model.adapters.adapter_file import Stored
    from iikata.tokenize import Tokenizer


def arms_from_elsewhere(experiment: Experiment) -> list[Arm]:
    """Return the arms that are adapters from elsewhere."""
    return [arm for arm in experiment.arms() if experiment.recipes[str(arm.variant)].adapters]


def folder_of(experiment: Experiment, arm: Arm) -> Path:
    """Return where the adapter comes from."""
    return Path(experiment.recipes[str(arm.variant)].adapters[int(arm.seed or 0)])


def stored_of(experiment: Experiment, store: RunFolder, arm: Arm) -> "Stored":
    """Return the adapter, from its own folder where that is still there, else as it was brought in."""
    from iikata.model.adapters.adapter_file import read_stored

    own = folder_of(experiment, arm)
    return read_stored(own if own.is_dir() or not (store.arm(arm) / "DONE").is_file() else store.arm(arm), whole=True)


def content_of(experiment: Experiment, store: RunFolder, arm: Arm) -> str:
    """Return a hash of the adapter's files; of one whose folder is gone, as it was when it was brought in."""
    from iikata.model.adapters.adapter_file import CONFIG, WEIGHTS

    own = folder_of(experiment, arm)
    if not own.is_dir() and (kept := read_object(store.arm(arm) / "DONE").get("brought")):
        return str(kept)
    files = [own / CONFIG, own / WEIGHTS]
    if missing := [path for path in files if not path.is_file()]:
        raise IikataError(f"{missing[0]}: no such file. Give PEFT's folder of the adapter, or take it out.")
    return digest([sha256_of(path) for path in files])


def files_of(experiment: Experiment, store: RunFolder, arm: Arm) -> dict[str, bytes]:
    """Return the adapter as a run folder on another machine holds it, by path there: as one that was brought in."""
    from iikata.model.adapters.adapter_file import CONFIG, WEIGHTS

    source = stored_of(experiment, store, arm).folder
    kept = json.dumps({"brought": content_of(experiment, store, arm)}).encode()
    files = {CONFIG: (source / CONFIG).read_bytes(), WEIGHTS: (source / WEIGHTS).read_bytes(), "DONE": kept}
    return {f"{store.arm(arm).relative_to(store.path).as_posix()}/{name}": content for name, content in files.items()}


def examine(experiment: Experiment, store: RunFolder, place: Path, tokenizer: "Tokenizer") -> Iterator[Finding]:
    """Yield what is to be known of the adapters from elsewhere, before the base is loaded from `place`.

    Raises IikataError where one cannot be read, or where two folders hold the same one.
    """
    contents: dict[str, Path] = {}
    for arm in arms_from_elsewhere(experiment):
        folder = folder_of(experiment, arm)
        stored = stored_of(experiment, store, arm)  # what is wrong with a file is told first
        first = contents.setdefault(content_of(experiment, store, arm), folder)
        if first != folder:
            raise IikataError(f"{folder}: the same adapter as in {first}; it counts once. Take one of them out.")
        named = Both(f"{arm.name} ({folder}): ", f"{arm.name}（{folder}）: ")
        if said := "; ".join(one.said for one in stored.beyond):
            stored.refuse_inexact()
            refuse_unmergeable(experiment, len(devices_of(experiment, place)))
            merged = Both(
                f"it is more than plain LoRA ({said}), so it is merged in float32 into a copy of the base, a model of "
                "its own",
                f"ただの LoRA ではないため（{said}）、ベースモデルの複製に float32 で統合し、別のモデルとして扱います",
            )
            yield Finding.of("design", "info", None, named + merged, cure=BESIDE)
        template = experiment.recipes[str(arm.variant)].variant.templates[0]
        for message, cure in _remarks(stored, experiment.model.base, place, tokenizer, template):
            yield Finding.of("design", "warning", None, named + message, cure=cure)
    for name, recipe in experiment.recipes.items():
        if recipe.adapters:
            message = Both(
                f"{name}: the rows that it was trained on are not known; held-out rows may be among them",
                f"{name}: 何で学習したか分からないため、検証行も学習に使われたかもしれません",
            )
            fix = Both("Measure on rows that nobody trained on.", "だれも学習に使っていない行で測ります。")
            yield Finding.of("design", "warning", None, message, cure=fix)


def refuse_unmergeable(experiment: Experiment, stages: int = 1) -> None:
    """Raise IikataError where nothing is merged exactly: into rounded weights, by code of the model's own, in parts.

    `stages`: over how many devices the base is laid.
    """
    model = experiment.model
    seen = f"model.quantize: {model.quantize}" if model.quantize != "none" else ""
    seen = seen or (f"model.stages: {model.stages}" if model.stages not in ("auto", 1) else "")
    seen = seen or ("model.trust_remote_code" if model.trust_remote_code is not None else "")
    if seen or stages > 1:
        raise IikataError(
            f"{experiment.at('model')}{seen or f'the base fits no GPU and is laid over {stages}'}: an adapter that is "
            "more than plain LoRA is merged into the base's own weights: in float32, in transformers' own model and on "
            f"one device. Leave {'the setting or ' if seen else ''}the adapter out."
        )


def _remarks(
    stored: "Stored", base: str, place: Path, tokenizer: "Tokenizer", template: str
) -> Iterator[tuple[Both, Both]]:
    """Yield (what differs between the adapter's own word and this experiment, what to do)."""
    same = same_base(stored, base, place)
    if same["same"] is False:
        yield (
            Both(
                f"it names another base, by {same['by']}: {same['named']}, and {same['seen']} is loaded",
                f"別のベースモデルで学習したものです（{BY_JA[same['by']]}: {same['named']}）。"
                f"ここでは {same['seen']} を使います",
            ),
            Both(
                "Give its own base as model.base; over another its answers are nobody's.",
                "model.base に学習時のベースモデルを指定します。別のモデルの上では、意味のある回答になりません。",
            ),
        )
    if same["same"] is None and same["named"]:
        yield (
            Both(
                f"it names {same['named']} as its base; whether {same['seen']} is that cannot be known",
                f"学習時のベースモデルは {same['named']} とありますが、{same['seen']} と同じかは分かりません",
            ),
            Both(
                "Make sure that they are the same model; over another its answers are nobody's.",
                "同じモデルか確かめます。別のモデルの上では、意味のある回答になりません。",
            ),
        )
    if template == "native" and same_template(stored.folder, tokenizer.chat_template) is False:
        yield (
            Both(
                "the chat template in its tokenizer differs from the base's, which it will be prompted with",
                "付属のトークナイザのチャットテンプレートが、質問に使うベースモデルのものと違います",
            ),
            Both(
                "Write its template to a file (iikata inspect shows where it lies) and give that as the template.",
                "そのテンプレートをファイルに書き（場所は iikata inspect で分かります）、"
                "テンプレートとして指定します。",
            ),
        )
    if more := more_tokens(stored.folder, tokenizer):
        yield (
            Both(
                f"its tokenizer has {more:+} tokens to the base's, which alone is used",
                f"付属のトークナイザはベースモデルのものと比べて {more:+} トークンです。"
                "ここではベースモデルのものだけを使います",
            ),
            Both(
                "Tokens that were added for training are cut to pieces here; give the base that has them.",
                "学習用に加えたトークンは、ここでは細かく分かれます。それを持つベースモデルを指定します。",
            ),
        )


BY_JA = {"fingerprint": "指紋", "folder": "フォルダ", "hub id": "hub id"}


def named_base(stored: "Stored") -> dict[str, Any]:
    """Return which base the adapter says that it was trained on; its run says the fingerprint, where it lies in one."""
    parent = stored.folder.absolute().parent
    signed = read_object(parent.parent / "signature.json").get("model", {}) if parent.name == "train" else {}
    name, revision = stored.config.base_model_name_or_path, stored.config.revision
    return {"name": name, "revision": revision, "weights": signed.get("weights")}


def same_base(stored: "Stored", base: str, place: Path) -> dict[str, Any]:
    """Return whether `place` holds the base that the adapter names: by fingerprint, by hub id, or not to be known."""
    from iikata.model.files.locate import HUB_ID, hub_name

    named, here = named_base(stored), hub_name(base, place)[0]
    seen, name = model_fingerprint(place), str(named["name"] or "")
    if named["weights"]:
        return {"by": "fingerprint", "same": named["weights"] == seen, "named": named["weights"], "seen": seen}
    if name and (Path(name) / "config.json").is_file():
        same = Path(name).resolve() == place.resolve() or model_fingerprint(Path(name)) == seen
        return {"by": "folder", "same": same, "named": name, "seen": str(place)}
    if here and HUB_ID.fullmatch(name):
        return {"by": "hub id", "same": name == here, "named": name, "seen": here}
    return {"by": None, "same": None, "named": name or None, "seen": here or str(place)}


def more_tokens(folder: Path, tokenizer: "Tokenizer") -> int:
    """Return how many tokens the adapter's own tokenizer has more than the base's; 0 where none lies beside it."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return 0
    return tokenize.load_tokenizer(folder).vocab_size - tokenizer.vocab_size


def same_template(folder: Path, of_base: str | None) -> bool | None:
    """Return whether the chat template beside an adapter is the base's; None where either has none."""
    text = tokenize.chat_template_in(folder)
    return None if text is None or of_base is None else text == of_base
