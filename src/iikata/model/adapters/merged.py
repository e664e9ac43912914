"""Adapters that the engine cannot hold (DoRA, embeddings, biases, whole modules): merged by peft, a model each."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from iikata.core.errors import IikataError
from iikata.core.io import read_json, sha256_of
from iikata.model.adapters.adapter_config import AGAIN, CONFIG
from iikata.model.adapters.adapter_file import PREFIX, WEIGHTS
from iikata.model.base import Base
from iikata.model.load import load, ready

EXACT = 1e-4
"""||merged - unmerged|| / ||unmerged|| over a text's logits in float32."""
TOKENS = 64
INSIDE = (".base_layer", ".token_adapter.base_layer")
"""Where peft keeps the weight of a module that it wraps."""


def merged_base(place: Path, adapter: Path, device: torch.device, weights: str | None = None) -> Base:
    """Return the base in `place` with the adapter merged in, all of it in float32: a model that has no adapters.

    `weights` name the base's files. Raises IikataError where peft does not read all of the adapter, or where its logits
    move by merging.
    """
    model = merge_in(load(place, "float32", device=device, weights=weights).model, adapter)
    files = [weights, *(sha256_of(adapter / name) for name in (CONFIG, WEIGHTS))]
    name = hashlib.sha256(repr(files).encode()).hexdigest() if weights else None
    return ready(Base(model.requires_grad_(False), place, device, torch.float32), name)


def merge_in(model: Any, adapter: Path) -> Any:
    """Return a float32 model with the PEFT adapter merged in by peft; the model given is changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft speaks of tied weights, which are untied before they are merged
        return _merged(model, adapter, _read(model, load_file(adapter / WEIGHTS)))


def _tied(model: Any) -> bool:
    return model.get_input_embeddings().weight is model.get_output_embeddings().weight


def _read(model: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors but those that peft saved beside the ones it reads, as of ends resized and trained."""
    inside, head = _ends(model)
    tied = _tied(model)

    def spare(name: str) -> bool:
        read = name.replace(".modules_to_save.", ".").replace(".original_module.", ".")
        if tied and ".token_adapter." in name:
            read = name.replace(f"{PREFIX}{head}.", f"{PREFIX}{inside}.")
        twice = read != name and read in tensors
        return twice and (".original_module." in name or torch.equal(tensors[read], tensors[name]))

    return {name: tensor for name, tensor in tensors.items() if not spare(name)}


def _ends(model: Any) -> list[str]:
    """Return the names of the embedding and the head."""
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)] for module in (model.get_input_embeddings(), model.get_output_embeddings())]


def _merged(model: Any, adapter: Path, tensors: dict[str, Tensor]) -> Any:
    _resize(model, adapter, tensors)
    tuned = _with_adapter(model, adapter, tensors)
    ids, tied = _ids(model, adapter), _tied(model)
    before = _logits(tuned, ids)
    _untie(tuned)
    made = tuned.merge_and_unload().eval()
    if tied:
        _tie_again(made)
    moved = float((_logits(made, ids) - before).norm() / before.norm())
    if not moved <= EXACT:
        raise IikataError(
            f"{adapter}: merged into the base, its logits move by {moved:.2g} of their size, so that it would not be "
            "what was trained. It cannot be used here."
        )
    return made


def _logits(model: Any, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits


def _resize(model: Any, adapter: Path, tensors: Mapping[str, Tensor]) -> None:
    """Give the model as many embeddings as the adapter brings; of all tokens that are new it must bring the rows."""
    own = model.get_input_embeddings().weight.shape[0]
    brought = [_rows(name, tensors) for name in _ends(model)]
    rows = next((count for count in brought if count), 0)
    if not rows or rows == own:
        return
    if brought != [rows, rows] and not (brought[0] and _tied(model)):
        raise IikataError(
            f"{adapter / WEIGHTS}: {rows:,} embeddings, where the base has {own:,}, and not "
            f"the rows of both ends: {brought[0] or 'none'} going in, {brought[1] or 'none'} coming out. {AGAIN}"
        )
    model.resize_token_embeddings(rows, mean_resizing=False)


def _rows(module: str, tensors: Mapping[str, Tensor]) -> int:
    found = (tensors.get(f"{PREFIX}{module}{part}.weight") for part in ("", *INSIDE))
    return next((len(tensor) for tensor in found if tensor is not None), 0)


def _with_adapter(model: Any, adapter: Path, tensors: dict[str, Tensor]) -> Any:
    """Return peft's model. Raises IikataError where its weights are not all in the file, or the file holds others."""
    from peft import LoraConfig, PeftModelForCausalLM, set_peft_model_state_dict

    try:
        tuned = PeftModelForCausalLM(model, LoraConfig.from_pretrained(str(adapter)))
        read: Any = set_peft_model_state_dict(tuned, tensors)
    except KeyError as error:
        raise _lacking(adapter, str(error.args[0])) from None
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
        # torch's first line says only that something is wrong, the second what.
        said = " ".join(" ".join(str(error).splitlines()[:2]).split()).rstrip(".") or type(error).__name__
        raise IikataError(f"{adapter}: peft cannot lay it over this base: {said}. Give its own base.") from None
    held = tuned.state_dict(keep_vars=True)
    there = {id(tensor) for key, tensor in held.items() if key not in set(read.missing_keys)}
    # Tokens trained under a tied head are one tensor under two names, saved once.
    lacking = [key for key in read.missing_keys if "default" in key.split(".") and id(held[key]) not in there]
    if lacking:
        raise _lacking(adapter, lacking[0].replace(".default", ""))
    if odd := sorted(read.unexpected_keys):
        raise IikataError(
            f"{adapter / WEIGHTS}: {odd[0]} has no place in this base as {CONFIG} describes the adapter ({len(odd)} "
            f"such tensors). Give its own base, or: {AGAIN}"
        )
    return tuned.eval()


def _lacking(adapter: Path, name: str) -> IikataError:
    return IikataError(f"{adapter / WEIGHTS}: {name} is not there, though {CONFIG} says it was trained. {AGAIN}")


def _ids(model: Any, adapter: Path) -> Tensor:
    """Return a text [1, T] that has the tokens that were trained by themselves."""
    given = read_json(adapter / CONFIG, dict[str, Any], AGAIN).get("trainable_token_indices") or []
    tokens = [token for own in given.values() for token in own] if isinstance(given, dict) else list(given)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = [*tokens[:TOKENS], *(7 * i % vocabulary for i in range(TOKENS)), vocabulary - 1]
    return torch.tensor([ids], device=model.device)


def _untie(tuned: nn.Module) -> None:
    """Give each name a weight of its own: what is merged into an embedding must not reach a head that shares it."""
    seen: set[int] = set()
    for name, parameter in list(tuned.named_parameters(remove_duplicate=False)):
        if id(parameter) in seen:
            module, _, last = name.rpartition(".")
            setattr(tuned.get_submodule(module), last, nn.Parameter(parameter.detach().clone(), requires_grad=False))
        seen.add(id(parameter))


def _tie_again(model: Any) -> None:
    """Let the head share the embedding where they are still the same; else its configuration must not say so."""
    inside, head = model.get_input_embeddings(), model.get_output_embeddings()
    same = torch.equal(inside.weight, head.weight)
    if same:
        head.weight = inside.weight
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = same
