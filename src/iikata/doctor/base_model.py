"""Rules on the model itself, from its config.json: what cannot be trained over it, or handed on afterwards."""

from collections.abc import Iterator
from typing import Any

from iikata.core.bilingual import Both
from iikata.core.errors import IikataError
from iikata.core.japanese import japanese
from iikata.core.records import Finding
from iikata.doctor.doctor_input import DoctorInput


def architecture(case: DoctorInput) -> Iterator[Finding]:
    """An architecture that cannot be computed exactly is told before its weights are loaded."""
    from iikata.model import memory

    try:
        if config := _config(case):
            memory.refuse_unfit(config)
    except IikataError as error:
        yield Finding.of(
            "architecture", "error", None, Both(str(error), f"このモデルは学習できません: {japanese(str(error))}")
        )


def _config(case: DoctorInput) -> Any:
    """Return the model's configuration; None for no model's file, or one with code of its own: loading tells."""
    from transformers import CONFIG_MAPPING

    from iikata.model.files import code

    known = case.settings("config.json").get("model_type") in CONFIG_MAPPING
    return code.configuration(case.folder) if known else None


def lora_targets(case: DoctorInput) -> Iterator[Finding]:
    """Adapters that would go on layers which the model does not have are told before its weights are loaded."""
    from iikata.model import memory
    from iikata.model.adapters import lora

    asked, at = case.experiment.train.lora.target_modules, case.experiment.at("train", "lora", "target_modules")
    try:
        config = _config(case)
        model = config and memory.without_weights(config)
        if not model or not lora.linear_names(model):
            return
    except IikataError:
        return  # the rule `architecture` tells
    try:
        lora.refuse_unmatched(model, lora.resolve_targets(asked, model))
    except IikataError as error:
        message = Both(f"{at}{error}", f"{at}アダプタを付ける層が、このモデルにありません: {japanese(str(error))}")
        yield Finding.of("lora_targets", "error", None, message)


def export(case: DoctorInput) -> Iterator[Finding]:
    """Weights that are stored quantised are read by many, and merged by nobody."""
    stored = case.settings("config.json").get("quantization_config")
    method = stored.get("quant_method", "unknown") if isinstance(stored, dict) else None
    if method:
        message = Both(
            f"the base's weights are stored quantised ({method}): adapters can be exported, not merged into it",
            f"ベースモデルの重みが量子化されています（{method}）。アダプタは書き出せますが、統合はできません",
        )
        fix = Both(
            "To merge later, name the unquantised model as model.base, with model.quantize where memory is short.",
            "あとで統合するなら、量子化前のモデルを model.base に指定します。"
            "メモリが足りなければ model.quantize を使います。",
        )
        yield Finding.of(
            "export", "warning", None, message, f"quantization_config in {case.folder.name}/config.json", fix
        )
