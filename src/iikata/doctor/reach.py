"""Rules on settings that this data or this machine cannot meet: answers longer than allowed, what needs a GPU."""

from collections.abc import Iterator
from statistics import median

from iikata.core.bilingual import Both, same
from iikata.core.errors import IikataError
from iikata.core.japanese import japanese
from iikata.core.records import Finding
from iikata.doctor.doctor_input import ROWS_LOOKED_AT, DoctorInput, share

MANY, SOME = 0.5, 0.1
"""Shares of answers that are longer than allowed: a warning, and worth a note."""
SPARE = 1.1


def answer_length(case: DoctorInput) -> Iterator[Finding]:
    """An answer cut at max_new_tokens never ends by itself, and a longer reference can never be contained."""
    limit = case.experiment.generate.max_new_tokens
    if not case.probes:
        return
    rows = case.turns[:: max(1, len(case.turns) // ROWS_LOOKED_AT)]
    lengths = sorted(_tokens(case, row.output) + 1 for row in rows)  # the end is a token too
    over = sum(length > limit for length in lengths)
    if lengths and over >= SOME * len(lengths):
        most = lengths[int(0.95 * (len(lengths) - 1))]
        message = Both("", "調べた学習用の回答 ") + share(over, len(lengths), "training answers looked at", "件")
        message += Both(
            f" are, with their end token, longer than generate.max_new_tokens {limit}: an arm that learnt to answer so "
            "is cut there, and does not finish",
            f"が、終端トークンを含めて generate.max_new_tokens {limit} より長く、同じ長さで答えるアームはそこで切られ、"
            "自分で終わりません",
        )
        evidence = f"tokens: median {median(lengths):.0f}, 95% at most {most}, the longest {lengths[-1]}"
        severity = "warning" if over > MANY * len(lengths) else "info"
        yield Finding.of("answer_length", severity, None, message, evidence, _longer(most))
    for probe in case.probes:
        shortest = min((_tokens(case, reference) for reference in probe.references), default=0)
        if shortest > limit:
            message = Both(
                f"probe {probe.id}: no reference fits into generate.max_new_tokens {limit}, so none can be contained",
                f"質問 {probe.id}: どの正解例も generate.max_new_tokens {limit} に収まらず、"
                "回答に含まれることがありません",
            )
            yield Finding.of(
                "answer_length", "warning", None, message, f"the shortest has {shortest}", _longer(shortest)
            )


def _tokens(case: DoctorInput, text: str) -> int:
    return len(case.tokenizer.ids(text, special=False, start=False))


def _longer(tokens: int) -> Both:
    return same(f"--set generate.max_new_tokens={round(SPARE * tokens) + 1}")


def device(case: DoctorInput) -> Iterator[Finding]:
    """Settings that this machine cannot do are told before anything is loaded."""
    from iikata.model.load import choose_device, choose_dtype, refuse_unmet

    model, here = case.experiment.model, choose_device()
    try:
        refuse_unmet(here, choose_dtype(model.dtype, here), model.quantize, model.compute)
    except IikataError as error:
        message = Both(str(error), f"このマシンでは計算できない設定です: {japanese(str(error))}")
        yield Finding.of("device", "error", None, message)
    slow = [f"dtype: {model.dtype}"] * (model.dtype == "float16")
    slow += [f"quantize: {model.quantize}"] * (model.quantize != "none")
    if slow and here.type == "cpu":
        message = Both(
            f"model.{' and '.join(slow)}: made for GPUs, and there is none here; a CPU computes it slowly",
            f"model.{'、'.join(slow)}: GPU 用の設定ですが、ここには GPU がなく、CPU では遅くなります",
        )
        fix = Both(
            "Leave it out: auto takes what this machine is fast in.",
            "指定を外せば、auto がこのマシンで速いものを選びます。",
        )
        yield Finding.of("device", "warning", None, message, cure=fix)
