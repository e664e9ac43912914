"""Refuse a loaded model whose files are not of one model, or whose logits are not those that transformers gives."""

import json
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iikata import tokenize
from iikata.core import VERSION
from iikata.core.errors import IikataError
from iikata.core.io import read_json, write_text
from iikata.model import exact, twin
from iikata.model.attention.registry import Layout, Unsupported
from iikata.model.base import Base
from iikata.model.context_length import learned_positions, refuse_short
from iikata.model.exact import Reference, Subject
from iikata.model.files.cache import cache_folder
from iikata.model.files.code import NO_INTERFACE, unsupported
from iikata.model.layers import decoder_of, run_layers
from iikata.model.stages import LaidOver

CHECK = 3
"""Goes up where what is compared changes."""
QUANTISED = 0.1
"""Share by which 8-bit products may move logits: which numbers they keep apart follows from the other tokens."""
ATTENTION = {"full_attention", "sliding_attention", "chunked_attention", "attention"}
TEXT = (
    "The harbour was quiet when the first ferry of the morning left for the islands. On deck, two students compared "
    "their notes: one had measured the water's temperature at 14.5 degrees, the other at 15. 朝一番の船が島へ向かうと、"
    "港は静かになった。二人の学生は甲板で水温の記録を見比べ、どちらの値が正しいのかを話し合っていた。 They agreed to "
    "measure again at noon, and to write down the depth, the time and the name of whoever held the thermometer. "
    "def mean(values): return sum(values) / len(values)"
)


def refuse_misfits(model: Any, folder: Path, found: dict[str, Any]) -> None:
    """Raise IikataError where config.json and weights are not of one model; transformers makes up what is not there."""
    cure = "Config and weights are not of one model: fetch all of its files again."
    if lacking := sorted(found["missing_keys"]):
        raise IikataError(
            f"{folder}: the weights lack {len(lacking)} tensors of the model, the first is {lacking[0]}. {cure}"
        )
    layers = tuple(name + "." for name, part in model.named_modules() if isinstance(part, torch.nn.ModuleList))
    if more := sorted(name for name in found["unexpected_keys"] if name.startswith(layers)):
        raise IikataError(
            f"{folder}: the weights hold {len(more)} tensors of layers that config.json does not name, the first is "
            f"{more[0]}. {cure}"
        )


def hold(base: Base, weights: str | None = None) -> int | None:
    """Return up to how many tokens a sample's logits are transformers'; None where there is no end.

    Raises IikataError where they are not at any length. What was found is kept by `weights`, which name the model's
    files, by software and by device.
    """
    kept = cache_folder() / "exact" / f"{_name(base, weights)}.json" if weights else None
    if kept is not None:
        with suppress(IikataError, KeyError):
            return read_json(kept, dict[str, Any], "")["longest"]
    if state := carries(base.model):
        raise unsupported(base.folder, base.config, state)
    refuse_short(base.folder, base.model)
    if base.laid_over and not _can_be_cut(decoder_of(base.model)):
        raise IikataError(
            f"{base.folder}: {base.config.model_type} cannot be laid over several devices: a small model of its kind "
            "computes otherwise when it is cut in two. Use one device (model.stages: 1); where the base is too large "
            "for it, model.quantize: 4bit."
        )
    try:
        found = _compared(base)
        reason = None if found.holds else _why(base, _seen(base, found))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Unsupported as error:
        reason = str(error)
    except Exception as error:  # of a foreign architecture, or of a model's own code
        reason = _why(base, f"{type(error).__name__}: {error}".rstrip("."))
    if reason is not None:
        raise unsupported(base.folder, base.config, reason)
    longest = _longest(base)
    if kept is not None:
        with suppress(IikataError):  # found again next time
            write_text(kept, json.dumps({"longest": longest, **found.differences, "tolerance": found.tolerance}))
    return longest


def _name(base: Base, weights: str | None) -> str:
    device = torch.cuda.get_device_name(base.device) if base.device.type == "cuda" else "cpu"
    software = [VERSION, *map(version, ("torch", "transformers"))]
    parts = [CHECK, weights, str(base.dtype), str(_quantised(base)), device, bool(base.runners), *software]
    parts += [len(base.devices)] * (len(base.devices) > 1)
    return sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _compared(base: Base) -> Reference:
    def run(ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        return base.logits(base.hidden(ids, positions, layout)[0])

    def theirs(ids: Tensor) -> Tensor:
        return base.model(input_ids=ids, use_cache=False).logits[0]

    window = base.window_within(exact.LIMITS.longest)
    subject = Subject(base.model, run, theirs, bool(base.runners), base.device, window)
    ids = torch.tensor(_ids(base.folder, base.config.get_text_config().vocab_size), device=base.device)
    return exact.compare(subject, exact.refer(subject, ids, QUANTISED if _quantised(base) else 0.0))


def _seen(base: Base, found: Reference) -> str:
    """Return which logits differ; the head's, where it differs on transformers' own last hidden states."""
    ids = found.ids[None]
    with torch.no_grad(), exact.attention(base.model, "eager"):
        hidden = base.decoder(input_ids=ids, use_cache=False).last_hidden_state
        share = exact.distance(base.logits(hidden)[0], base.model(input_ids=ids, use_cache=False).logits[0])
    if share > found.tolerance:
        return f"its output head is another than config.json says (a share of {share:.2g} of the logits)"
    kind, share = found.worst
    return f"its {kind} logits differ from transformers' by a share of {share:.2g} (allowed: {found.tolerance:.2g})"


def _longest(base: Base) -> int | None:
    """Ask for learned positions; try what happens beyond other lengths on a twin whose lengths are cut."""
    decoder = decoder_of(base.model)
    learned, lengths = learned_positions(decoder), [length for _, _, length in twin.lengths(decoder.config)]
    ends = [] if learned is None else [learned]
    # Rounding to 16 bits would hide frequencies that follow the length; only there are the flash kernels tried.
    holds = not lengths or (
        _twin_holds(decoder, torch.float32, False) and (not base.runners or _twin_holds(decoder, base.dtype, True))
    )
    return min(ends if holds else ends + lengths, default=None)


def _can_be_cut(decoder: Any) -> bool:
    """Return whether a small model of a decoder's class, cut in two, gives the bits that it gives whole."""
    try:
        model = twin.make(decoder, torch.float32)
        ids = torch.arange(exact.TOKENS, device=model.device)[None] * 7 % model.config.vocab_size
        with torch.no_grad():
            whole = model(input_ids=ids, use_cache=False).last_hidden_state
            LaidOver(model, [model.device] * 2)
            return torch.equal(whole, model(input_ids=ids, use_cache=False).last_hidden_state)
    except Exception:  # layers that hand on more than hidden states, or a configuration that cannot be cut
        return False


def _twin_holds(decoder: Any, dtype: torch.dtype, flash: bool) -> bool:
    def theirs(ids: Tensor) -> Tensor:
        return model(input_ids=ids, use_cache=False).last_hidden_state[0]

    try:
        model = twin.make(decoder, dtype)
        own = Base(model, Path(), model.device, dtype, runners=run_layers(model) if flash else [])
        own.decoder = model
        window = own.window_within(exact.LIMITS.longest)
        subject = Subject(model, lambda *row: own.hidden(*row)[0], theirs, flash, model.device, window)
        ids = torch.arange(exact.TOKENS, device=model.device) * 7 % model.config.vocab_size
        return exact.compare(subject, exact.refer(subject, ids)).holds
    except Exception:  # a configuration that cannot be cut, or what only shows beyond a length
        return False


def _ids(folder: Path, vocabulary: int) -> Sequence[int]:
    """Return the tokens of a real text, of a made-up one where there is no tokenizer."""
    ids: Sequence[int] = ()
    with suppress(IikataError):
        ids = tokenize.load_tokenizer(folder).ids(TEXT)
    if len(set(ids)) < exact.TOKENS // 4:  # none, or one that does not know the text
        ids = range(0, 7 * exact.TOKENS, 7)
    return [ids[i % len(ids)] % vocabulary for i in range(exact.TOKENS)]


def _quantised(base: Base) -> bool:
    return getattr(base.config, "quantization_config", None) is not None


def carries(model: Any) -> str | None:
    """Return why samples cannot be packed, which so few tokens need not show; None where nothing says so."""
    kinds = sorted(set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - ATTENTION)
    if not kinds and not getattr(model, "_is_stateful", False):
        return None
    named = f" ({', '.join(kinds)})" if kinds else ""
    return f"it has layers that are no plain attention{named}; what they carry on would go from sample to sample"


def _why(base: Base, said: str) -> str:
    """Return the reason behind what was seen, as far as the model's class tells."""
    if not getattr(base.model, "_supports_attention_backend", False):
        return NO_INTERFACE
    if getattr(base.config, "is_decoder", None) is False:
        return "its tokens look at those behind them (is_decoder is false in config.json)"
    return said
