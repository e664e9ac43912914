"""What can be known before training: what the primary metric is measured on, and which questions it can answer."""

from collections.abc import Iterator
from dataclasses import dataclass

from iikata.core.bilingual import NOT_SAID, Both
from iikata.core.errors import IikataError
from iikata.core.records import Cell, Finding
from iikata.metrics import CHOICE, HELD_OUT, get
from iikata.pipeline.context import RunContext
from iikata.run_folder import read_object
from iikata.stats import answerable, tested_clusters
from iikata.stats.factors import Design, design_of, refuse_few_seeds
from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS
from iikata.stats.phrases import factor_named
from iikata.stats.replicates import NAMES

THINGS_JA = {
    "held-out rows": "検証行",
    "documents of held-out rows": "検証文書",
    "probe clusters": "質問クラスタ",
}
NEED_REFERENCES = ("contains", "exact", "numeric", "chrf", "rouge_l", "nll_reference")
FINDINGS = ("primary", "design")
"""The names of the findings made here; docs/templates.md lists them beside the doctor's rules."""


@dataclass(frozen=True)
class QuestionDesign:
    """How many seeds and clusters one question has, and what they can answer."""

    question: str
    seeds: int
    clusters: int
    choosing: int
    """Clusters that are not tested: they choose, or measure the margin."""
    scope: str | None
    """"recipe", "these_adapters", "these_probes"; None where too few for any claim."""
    things: str
    """What the clusters are: "held-out rows", "documents of held-out rows" or "probe clusters"."""
    asked: str
    """The question in words: "whether the template matters"."""
    asked_ja: str = ""
    several: str = "seeds"
    """What there are several of: "seeds", or "adapters" where these come from elsewhere."""

    @property
    def said_ja(self) -> str:
        """The question and what it can be answered for, as a Japanese sentence."""
        things, called = THINGS_JA[self.things], NAMES[self.several]["ja"][1]
        spent = f"。ほかに {self.choosing} {things}は、選択や許容差の測定に使います" if self.choosing else ""
        counts = f"{self.seeds} {called}、{self.clusters} {things}{spent}"
        if not self.clusters:
            return f"{self.asked_ja}は答えられません: {self.choosing} {things}は選択に使い、検定に使うものが残りません"
        if self.scope is None:
            least = f"少なくとも {MIN_SEEDS} {called}か {MIN_CLUSTERS} {things}が必要です"
            return f"{self.asked_ja}は答えられません: {counts}。{least}"
        limit = {"these_adapters": "今回のアダプタについてだけ", "these_probes": f"今回の{things}についてだけ"}
        return f"{self.asked_ja}は、{limit.get(self.scope, '学習手順について')}答えられます: {counts}"

    @property
    def said(self) -> str:
        """What the question can be answered for, as the end of a sentence."""
        spent = f" (and {self.choosing} set aside to choose or to measure the margin on)" if self.choosing else ""
        several = self.several if self.seeds != 1 else self.several.removesuffix("s")
        counts = f"{self.seeds} {several} and {self.clusters} {self.things}{spent}"
        if not self.clusters:
            return f"cannot be answered: of {self.choosing} {self.things} none is left beside those set aside to choose"
        if self.scope is None:
            return (
                f"cannot be answered: {counts} are too few for any claim; "
                f"{MIN_SEEDS} {self.several} or {MIN_CLUSTERS} {self.things} are the least"
            )
        if self.scope == "these_adapters":
            return f"can be answered for these adapters only, not for training again: {counts}"
        if self.scope == "these_probes":
            return f"can be answered on these {self.things} only, not on others: {counts}"
        return f"can be answered for the training recipe: {counts}"


def designs(ctx: RunContext) -> list[QuestionDesign]:
    """Return what the primary metric can answer of the questions that the verdict is made of."""
    primary, every = get(ctx.experiment.score.primary).name, clusters(ctx)
    rows = "held-out rows" if every == len(ctx.data.validation) else "documents of held-out rows"
    things = rows if primary in HELD_OUT else "probe clusters"
    seeds, matched, levels = tested(ctx)
    several = "seeds" if ctx.experiment.trains else "adapters"
    factor = factor_design(ctx).factor
    named = Both(*(factor_named(factor, language)[0] for language in ("en", "ja")))
    asked = Both(f"whether {named.en} matters", f"{named.ja}が影響するか")
    lora = Both("whether LoRA was needed", "LoRA が必要だったか")
    about_factor = ("matched", asked, matched)
    about_lora = ("tuned_vs_best_base", lora, tested_clusters(every) if every else 0)
    return [
        QuestionDesign(
            question, seeds, count, every - count, answerable(seeds, count), things, asked.en, asked.ja, several
        )
        for question, asked, count in ([about_factor] if levels > 1 else []) + [about_lora]
    ]


def tested(ctx: RunContext) -> tuple[int, int, int]:
    """Return the seeds and clusters that the levels of the factor are tested on, and how many levels there are."""
    every, design = clusters(ctx), factor_design(ctx)
    every_seeds = [set(ctx.experiment.seeds_of(name)) for name in ctx.experiment.recipes]
    seeds = min(every_seeds, key=lambda one: len(one))  # the fewest that a side has
    best = design.others == "best"
    seeds -= set(ctx.experiment.compare.choosing_seeds) if best else set()
    aside = best or isinstance(ctx.experiment.margins.get(ctx.experiment.score.primary), str)
    return len(seeds), tested_clusters(every) if aside and every else every, len(design.levels)


def clusters(ctx: RunContext) -> int:
    primary = get(ctx.experiment.score.primary)
    if primary.name in HELD_OUT:
        return len(set(ctx.data.clusters.values()))
    asked = [one for one in ctx.probes if one.choices] if primary.scope == "choice" else ctx.sampled
    return len({probe.cluster for probe in asked})


def refuse_undecided(ctx: RunContext) -> None:
    """Raise IikataError, with its place, where the variants cannot answer what `compare` asks of them."""
    try:
        if factor_design(ctx).others == "best":
            refuse_few_seeds(ctx.experiment.compare.choosing_seeds, ctx.experiment.train.seeds)
    except IikataError as error:
        raise IikataError(f"{ctx.experiment.at('compare')}{error}") from None


def factor_design(ctx: RunContext) -> Design:
    """Return what is compared. Raises IikataError where the variants cannot answer it."""
    settings = ctx.experiment.compare
    variants = {name: one.variant for name, one in ctx.experiment.recipes.items()}
    return design_of(variants, settings.factor, settings.others)


def examples_too_long(ctx: RunContext) -> Iterator[Finding]:
    """Yield an error where examples and a question are longer than the text that the model was made for."""
    config = read_object(ctx.model_folder / "config.json")
    most = {**config, **config.get("text_config", {})}.get("max_position_embeddings")
    if type(most) is not int or not ctx.probes:
        return
    drawn: dict[str, list[Cell]] = {}
    for arm in ctx.experiment.bases()[1:]:
        for cell in ctx.cells_of(arm):
            drawn.setdefault(cell.prompted_with, []).append(cell)
    for name, cells in drawn.items():
        # A draw's examples are as long before every question: the longest draw's alone are put before each of them.
        longest = max(cells, key=lambda cell: len(ctx.prompts.ids(cell, ctx.probes[0])))
        tokens = max(len(ctx.prompts.ids(longest, probe)) for probe in ctx.probes)
        tokens += ctx.experiment.generate.max_new_tokens
        if tokens > most:
            message = Both(
                f"{name}: a question with its examples and answer has {tokens:,} tokens, and the model {most:,}",
                f"{name}: 例と回答を合わせた質問が {tokens:,} トークンになり、モデルの上限は {most:,} です",
            )
            fix = Both(
                "Fewer or shorter examples: untuned: {shots: [0, 2]}.",
                "例を減らすか短くします: untuned: {shots: [0, 2]}。",
            )
            yield Finding.of("design", "error", None, message, cure=fix)


def scaled_by_rank(ctx: RunContext) -> Iterator[Finding]:
    """Yield a warning where the rank varies and the update's scale, alpha / r, with it."""
    loras = {one.train.lora for one in ctx.experiment.recipes.values()}
    if len({lora.r for lora in loras}) > 1 and len({(lora.alpha, lora.use_rslora) for lora in loras}) == 1:
        message = Both(
            "the rank varies and alpha does not, so the update's scale alpha / r varies too: a difference may be the "
            "scale's",
            "ランクだけを変えて alpha を変えないので、更新の倍率 alpha / r も変わります。"
            "差は倍率によるものかもしれません",
        )
        together = "vary: {train.lora: {r8: {r: 8, alpha: 16}, r64: {r: 64, alpha: 128}}}"
        fix = Both(f"Let both vary together: {together}.", f"両方を一緒に変えます: {together}。")
        yield Finding.of("design", "warning", None, message, cure=fix)


def foresee(ctx: RunContext) -> Iterator[Finding]:
    """Yield a primary metric that would have nothing to measure, then what cannot be answered for the recipe."""
    if fault := _unmeasured(ctx):
        yield fault
        return
    yield from scaled_by_rank(ctx)
    yield from examples_too_long(ctx)
    for one in designs(ctx):
        if one.scope != "recipe":
            severity = "info" if one.scope else "warning"
            where = "train.seeds" if ctx.experiment.trains else "variants: adapters"
            called = NAMES[one.several]["ja"][1]
            cure = Both(
                f"For the recipe: {MIN_SEEDS} {one.several} or more ({where}) and {MIN_CLUSTERS} {one.things} or more",
                f"学習手順について答えるには、{MIN_SEEDS} {called}以上（{where}）と "
                f"{MIN_CLUSTERS} {THINGS_JA[one.things]}以上",
            )
            cure += CHOOSES if one.choosing else Both(".", "が必要です。")
            yield Finding.of("design", severity, None, Both(f"{one.asked} {one.said}", one.said_ja), cure=cure)


CHOOSES = Both(", besides the third of them that chooses.", "、加えて選択に使う三分の一が必要です。")


def _unmeasured(ctx: RunContext) -> Finding | None:
    settings = ctx.experiment
    primary = get(settings.score.primary).name
    key: tuple[str, ...]
    if primary in HELD_OUT:
        key = ("data", "validation")
        given, so_much = settings.data.validation, ("500, or 0.1", "500 や 0.1")
        so_much = so_much if ctx.data.train else ("a file", "ファイル名")
        is_said = Both("not given", "指定されていません") if given is None else Both(f"{given}", f"{given} です")
        missing = Both(f"data.validation is {is_said.en}", f"data.validation が{is_said.ja}")
        missing = NOT_SAID if ctx.data.validation else missing
        cure = Both(
            f"Hold rows out (data.validation: {so_much[0]}), or name a primary metric that is measured on probes.",
            f"検証に行を回すか（data.validation: {so_much[1]}）、質問で測る指標を主指標にします。",
        )
        on = Both("held-out rows", "検証行")
    else:
        key, on = ("probes",), Both("probes", "質問")
        cure = Both(
            "Give probes what it needs, or name another primary metric: score.primary: nll needs held-out rows only.",
            "質問に必要なものを加えるか、主指標を変えます。score.primary: nll なら検証行だけで測れます。",
        )
        missing = _missing_in_probes(ctx, primary)
    if not missing:
        return None
    place = settings.at(*key)
    message = Both(
        f"{place}the primary metric {primary} is measured on {on.en}, and {missing.en}: nothing would decide",
        f"{place}主指標 {primary} は{on.ja}で測りますが、{missing.ja}。判定に使うものがありません",
    )
    return Finding.of("primary", "error", None, message, cure=cure)


def _missing_in_probes(ctx: RunContext, primary: str) -> Both:
    if not ctx.probes:
        return Both("there are none", "質問がありません")
    if primary in NEED_REFERENCES and not any(probe.references for probe in ctx.probes):
        return Both("none of them has references", "正解例（references）のある質問がありません")
    if primary in CHOICE and not any(probe.choices for probe in ctx.probes):
        return Both("none of them has choices", "選択肢（choices）のある質問がありません")
    if primary == "pattern" and not any(probe.pattern for probe in ctx.probes):
        return Both("none of them has a pattern", "pattern のある質問がありません")
    return NOT_SAID
