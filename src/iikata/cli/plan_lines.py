"""A plan as lines for a terminal, in English and Japanese."""

from collections.abc import Iterator
from typing import Any

from iikata.cli.terminal import clock
from iikata.core.bilingual import NOT_SAID, Both, same
from iikata.core.margin import share_of_gain

Made = dict[str, Any]
STATED = ("seed_template", "probe_template", "sample", "residual")


def lines(made: Made, ja: Made) -> Iterator[Both]:
    """Yield what there is to do, how long it takes, what can be answered, and how small a difference can be found.

    `ja`: the Japanese of the plan's words, under the same keys.
    """
    yield Both(
        f"{made['arms']} arms of {made['variants']} variants, {made['steps']} steps, "
        f"{made['train_tokens']:,} training tokens",
        f"{made['variants']} 条件の {made['arms']} アーム、{made['steps']} ステップ、"
        f"学習 {made['train_tokens']:,} トークン",
    )
    yield Both(
        f"{made['cells']} cells, {made['answers']:,} answers, {made['held_out_rows']:,} held-out rows to score",
        f"{made['cells']} セル、回答 {made['answers']:,} 件、採点する検証行 {made['held_out_rows']:,} 行",
    )
    yield from _time(made)
    yield NOT_SAID
    yield from _asked(made, ja)
    yield from _power(made, ja)


def _time(made: Made) -> Iterator[Both]:
    guess = made["estimate"]
    if made["seconds"]:
        total = clock(sum(made["seconds"].values()))
        parts = ", ".join(f"{stage} {clock(seconds)}" for stage, seconds in made["seconds"].items())
        yield Both(f"about {total} at the pilot's speed ({parts})", f"試した実行と同じ速さなら約 {total}（{parts}）")
    if made["steps"]:
        yield from _training(guess)
    if guess["merged_arms"]:
        size = f"{guess['copy_bytes'] / 1e9:.1f} GB"
        yield Both(
            f"{guess['merged_arms']} arms are more than plain LoRA: each is merged into a copy of the base in float32, "
            f"one at a time, which takes {size} beside the base",
            f"{guess['merged_arms']} アームはふつうの LoRA ではないので、一つずつ float32 のベースの写しに統合します。"
            f"ベースのほかに {size} を使います",
        )
    answers, scores, rest = (clock(guess[f"{part}_seconds"]) for part in ("generate", "score", "other"))
    yield Both(
        f"answers at most {answers}, scoring {scores}, start, check and report {rest}",
        f"回答は長くて {answers}、採点 {scores}、起動と診断とレポート {rest}",
    )
    device = guess["device"].replace("cuda", "GPU").replace("cpu", "CPU")
    whole = _spent(made["hours"]) + Both(f" on one {device}", f"（{device} 1 台）")
    if made["cost"] is not None:
        whole += Both(f", at a price of {made['cost']:.2f}", f"、費用は {made['cost']:.2f}")
    if made["seconds"]:
        whole += Both(" (at the pilot's speed)", "（試した実行と同じ速さなら）")
    yield Both("in all ", "合わせて ") + whole


def _spent(hours: float) -> Both:
    return Both(f"{hours:.3g} hours", f"{hours:.3g} 時間") if hours >= 1 else same(clock(3600 * hours))


def _training(guess: Made) -> Iterator[Both]:
    laid, times = guess["stages"] > 1, guess["train_seconds_on"]
    over = Both(f", the base laid over {guess['stages']} devices", f"、ベースを {guess['stages']} 台に分割")
    device = same(guess["device"]) + (over if laid else NOT_SAID)
    took, size, buffer = clock(guess["train_seconds"]), f"{guess['train_bytes'] / 1e9:.1f} GB", guess["buffer_tokens"]
    twice = Both(", layers computed twice to save memory", "、メモリを節約するため層を二度計算")
    yield Both(
        f"training on this machine ({device.en}): about {took} and {size}, in buffers of {buffer:,} tokens",
        f"このマシンでの学習（{device.ja}）: 約 {took}、{size}、バッファ {buffer:,} トークン",
    ) + (twice if guess["checkpointed"] else NOT_SAID)
    if not laid:
        devices, spent = ", ".join(times), ", ".join(map(clock, times.values()))
        yield Both(
            f"on {devices} devices like this one: {spent}, and their start",
            f"これと同じデバイスが {devices} 台なら: {spent}（起動の時間は別）",
        )


def _asked(made: Made, ja: Made) -> Iterator[Both]:
    power, spread = made["power"], made["components"]
    things, several = (Both(made["questions"][0][key], ja["questions"][0][key]) for key in ("things", "several"))
    unit = Both(made["unit"], ja["unit"])
    yield Both(
        f"primary metric {made['primary']} ({unit.en}), {power['seeds']} {several.en} x "
        f"{power['probes']} {things.en} x {power['samples']} samples",
        f"主指標 {made['primary']}（{unit.ja}）、{power['seeds']} {several.ja} × "
        f"{power['probes']} {things.ja} × {power['samples']} サンプル",
    )
    values = ", ".join(f"{name} {value:.3g}" for name, value in spread.items() if name in STATED)
    yield Both(f"standard deviations: {values}; ", f"標準偏差: {values}。") + _source(made)
    for one, same_one in zip(made["questions"], ja["questions"], strict=True):
        yield Both(one["said"], same_one["said"])
    for pair in zip(made["unanswered"], ja["unanswered"], strict=True):
        yield Both("not answered: ", "答えられないこと: ") + Both(*pair)


def _source(made: Made) -> Both:
    """Return where the standard deviations come from."""
    source, _, stated = made["components_from"].partition("; stated: ")
    kind, _, run = source.partition(" ")
    told = Both(f"estimated from the run {run}", f"実行 {run} から推定")
    if kind == "assumed":
        told = Both(
            f"assumed from {made['assumed_from']}: --pilot RUN",
            "ほかのデータで小さなモデルが示した値を仮定（docs/statistics.md）。"
            "自分の実行を --pilot RUN で渡すほうが確かです",
        )
    return told + (Both(f"; of these you stated {stated}", f"。うち指定された値は {stated}") if stated else NOT_SAID)


def _power(made: Made, ja: Made) -> Iterator[Both]:
    first, power, unit = made["questions"][0], made["power"], Both(made["unit"], ja["unit"])
    things = Both(first["things"], ja["questions"][0]["things"])
    if first["question"] != "matched" or power["detectable"] is None:
        return
    if made["span"] is not None and power["detectable"] >= made["span"]:
        yield Both(
            f"no difference could be found: the largest there can be is {made['span']:g} {unit.en}",
            f"差は見つけられません。ありうる最大の差が {made['span']:g} {unit.ja}です",
        )
        return
    found, margin = f"{power['detectable']:.3g}", f"{power['equivalent_margin']:.3g}"
    of = OF[power["scope"]]
    yield Both(
        f"smallest difference between {made['levels']} found with 80% power{of.en.format(things=things.en)}: "
        f"{found} {unit.en}",
        f"{ja['levels']}の差のうち、5回に4回は見つかる最小の差{of.ja.format(things=things.ja)}: {found} {unit.ja}",
    )
    yield Both(
        f"smallest margin that could be called EQUIVALENT with 80% power: {margin} {unit.en}",
        f"差がないとき5回に4回は「同等」と言える最小の許容差: {margin} {unit.ja}",
    ) + _against(made["margin"], power["equivalent_margin"])
    if power["scope"] == "these_adapters":
        noise = f"{power['seed_noise']:.3g}"
        yield Both(
            f"from one training to the next the seeds alone move a difference by {noise} {unit.en} "
            f"(standard deviation of a mean over {power['seeds']}), which this does not count",
            f"学習をやり直すとシードだけで差が {noise} {unit.ja}動きます（{power['seeds']} シードの平均の標準偏差）。"
            "上の値には含めていません",
        )
    if power["buys_most"]:
        yield _buys_most(power, things, Both(first["several"], ja["questions"][0]["several"]))


def _buys_most(power: Made, things: Both, several: Both) -> Both:
    names = {"seeds": several, "probes": things, "samples": Both("samples", "サンプル")}
    best, more = names[power["buys_most"]], power["more"].items()
    en, ja = (", ".join(f"{getattr(names[name], x)} -> {value:.3g}" for name, value in more) for x in ("en", "ja"))
    return Both(
        f"one more seed's worth of compute buys most in {best.en}: {en}",
        f"シードもう一つ分の計算を足すなら、{best.ja}を増やすのが最も効きます: {ja}",
    )


OF = {
    "recipe": NOT_SAID,
    "these_adapters": Both(", for these adapters only", "（今回のアダプタについてだけ）"),
    "these_probes": Both(", on these {things} only", "（今回の{things}についてだけ）"),
}


def _against(margin: float | str | None, least: float) -> Both:
    if margin is None:
        return NOT_SAID
    if isinstance(margin, str):
        gain = f"{least / (share_of_gain(margin) or 1.0):.3g}"
        return Both(
            f" (declared: {margin}, which is as large where tuning gains {gain} or more)",
            f"（宣言: {margin}。学習で {gain} 以上良くなれば足ります）",
        )
    small = margin < least
    return Both(
        f" (declared: {margin:g}{', too small for this design' if small else ''})",
        f"（宣言: {margin:g}{'。この規模の実験には小さすぎます' if small else ''}）",
    )
