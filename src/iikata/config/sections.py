"""The sections of an experiment: every setting's one home, its default and what it means."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from iikata.config.kinds import (
    Above0,
    AnyTexts,
    Count,
    CountOrNone,
    Draws,
    Dtype,
    EachOnce,
    Endpoint,
    EvalSteps,
    HeldOut,
    Margin,
    Name,
    NotNegative,
    Plain,
    Quantize,
    Schedule,
    Seed,
    Seeds,
    Settings,
    Shots,
    Stages,
    Text,
    Texts,
    refuse_repeats,
)
from iikata.config.lora import LoraSettings
from iikata.core.records import Variant

DATA = "data.train"
DEFAULT_MARGIN: dict[str, float | str] = {"nll": "10% of gain", "contains": 0.10}


class ModelSettings(Settings):
    """The base model, which stays frozen."""

    base: Text = "smollm2"
    """Hub id, local folder, .gguf file, or "smollm2", the embedded SmolLM2-135M-Instruct."""
    revision: Text | None = None
    """Branch, tag or commit on the hub."""
    dtype: Dtype = "auto"
    """Number format; auto: bfloat16 where the device computes in it, else float16 on CUDA, float32 on CPU."""
    quantize: Quantize = "none"
    """Hold the base's weights in fewer bits (bitsandbytes)."""
    compute: Literal["dtype", "fp8"] = "dtype"
    """What the base's products are made in; fp8 is faster on Ada, Hopper and later GPUs, and rounds more."""
    stages: Stages = "auto"
    """Over how many GPUs of this machine the base is laid, a range of its layers on each: auto (as few as hold it, one
    where it fits), or a number."""
    trust_remote_code: Text | None = None
    """The same as base, for a model that runs its own Python files: they may do anything you may do."""

    @field_validator("trust_remote_code", mode="before")
    @classmethod
    def _trust_by_name(cls, trusted: Any, info: ValidationInfo) -> Any:
        base = info.data.get("base")
        if trusted is not None and base is not None and trusted != base:
            raise ValueError(f'trust is given to one model by its name: "{base}", as in model.base, is allowed')
        return trusted


class Columns(Settings):
    """What the data's columns are called."""

    instruction: Text = "instruction"
    """Column of the instruction."""
    input: Text = "input"
    """Column of the input; rows without one have no input."""
    output: Text = "output"
    """Column of the answer."""
    system: Text = "system"
    """Column of the system message, where rows have one."""
    history: Text = "history"
    """Column of earlier turns beside an instruction, as LLaMA-Factory's list of [question, answer]."""
    messages: Text | None = None
    """Column that holds a conversation, where it has an unusual name."""
    cluster: Text | None = None
    """Column that says which rows belong together (one document, one conversation): they are held out and counted
    together. Without it rows with the same input do; none: each row is on its own."""

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """What a template renders, and the column that holds it."""
        return ("instruction", self.instruction), ("input", self.input), ("output", self.output)

    @model_validator(mode="after")
    def _differ(self) -> Self:
        refuse_repeats((self.instruction, self.input, self.output), " (a row's answer cannot be its question)")
        return self


class DataSettings(Settings):
    """The rows to train on and the rows held out."""

    train: AnyTexts = ()
    """Hub id, or json / jsonl / csv / parquet file, or a list of them; not needed where nothing is trained."""
    validation: HeldOut = None
    """Rows held out by a hash of their content: how many (0 for none), a share below 1, or a file; where this is not
    given 500, or a tenth where that is less."""
    columns: Columns = Columns()
    """Column names, where they differ from instruction, input, output."""
    format: Literal["auto", "alpaca", "messages", "sharegpt", "turns", "prompt_completion", "question_answer"] = "auto"
    """Shape of the rows: alpaca (instruction, input, output, and system and history where they are there), messages
    (role, content), sharegpt (from, value), turns (other conversations), prompt_completion, question_answer; auto
    takes what the first row of a file looks like, and says so."""
    system: Literal["keep", "drop", "refuse"] | None = None
    """What to do with system messages: keep them (a template without a place leaves them out), drop them for every
    template, or refuse rows that have one; to be chosen where some template has no place for them."""


class TrainSettings(Settings):
    """How each arm is trained."""

    seeds: Seeds = (0, 1, 2)
    """One arm for each template and seed; with fewer than 3 a result holds for these adapters only."""
    epochs: Count = 2
    """Passes over the training rows."""
    batch_size: Count = 128
    """Samples an optimizer step and an arm."""
    learning_rate: Above0 = 3e-4
    """Peak rate of AdamW; LoRA wants about ten times the full fine-tuning rate."""
    warmup_steps: CountOrNone = 0
    """Steps in which the rate rises from 0 to its peak."""
    schedule: Schedule = "linear"
    """How the rate goes on after the warm-up; linear and cosine end at 0."""
    weight_decay: NotNegative = 0.0
    """AdamW's decoupled weight decay."""
    max_grad_norm: Above0 = 1.0
    """An arm's gradient is scaled down to this norm."""
    cutoff_len: Annotated[int, Field(ge=2, lt=2**31)] = 1024
    """Tokens a sample; longer rows are counted and left out, or cut as `too_long` says."""
    too_long: Literal["leave_out", "cut_at_turn"] = "leave_out"
    """What becomes of a conversation longer than cutoff_len: all of it left out, or the turns that do not fit."""
    loss_on: Literal["completion", "last", "all"] = "completion"
    """Tokens that the loss counts: every answer of a conversation and its end, the last one alone, or all, prompts
    too."""
    checkpoint_seconds: NotNegative = 60
    """Time between saved states, from which a killed run goes on."""
    eval_steps: EvalSteps = "epoch"
    """When the held-out loss is told while an arm is trained: before the first step, after every so many (or every
    epoch) and at the end; 0 for never. It changes no adapter, and no verdict follows from it."""
    eval_rows: CountOrNone = 100
    """Held-out rows that it is told of, the same for every arm; 0 for all."""
    lora: LoraSettings = LoraSettings()
    """Rank, scale and places of the adapter."""


class GenerateSettings(Settings):
    """How each cell answers the probes."""

    samples: Count = 20
    """Answers of each cell to each probe."""
    temperature: NotNegative = 0.9
    """0 takes the likeliest token."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample among the likeliest tokens that hold this share of the probability."""
    top_k: CountOrNone = 0
    """Sample among this many of the likeliest tokens; 0 for all."""
    repetition_penalty: Above0 = 1.0
    """Above 1, tokens already there become less likely."""
    max_new_tokens: Count = 128
    """An answer is cut at this length."""
    seed: Seed = 0
    """Seed of the sampling; every row has its own stream."""


class JudgeSettings(Settings):
    """A model that says which of two answers is better; its key, if any, is read from IIKATA_JUDGE_KEY."""

    url: Endpoint
    """OpenAI-compatible endpoint up to and with the version, as http://127.0.0.1:8000/v1; never with a key in it."""
    model: Text
    """What the endpoint calls the model."""


class ScoreSettings(Settings):
    """What the answers and the held-out rows are measured by."""

    primary: Text = "nll"
    """The metric that decides, named before the run."""
    metrics: EachOnce = Field(
        default=("nll", "contains", "finish", "leakage", "script", "length", "repetition", "chrf"),
        validate_default=True,
    )
    """Metrics to compute: built-in names, or package.module:name."""
    content: Text = "contains"
    """The metric of right answers, of which the advice speaks beside the primary."""
    judge: JudgeSettings | None = None
    """Model that compares each answer with the base's under the same template, as the metric judge."""

    @model_validator(mode="after")
    def _hold_the_primary(self) -> "ScoreSettings":
        # Where nll was only the default, the metrics may be misspelt: whoever knows their names says which.
        if "primary" in self.model_fields_set and self.primary not in self.metrics:
            raise ValueError(f'the primary metric "{self.primary}" must be among score.metrics')
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """All metrics, the judge too where there is one."""
        return (*self.metrics, "judge") if self.judge else self.metrics


class VariantSettings(Settings):
    """One recipe by name: what differs from the experiment's own settings."""

    name: Name
    """What it is called in cells and tables."""
    template: Texts
    """Template to train on; with several, each row is under one of them, drawn by the row and the seed."""
    train: Plain = Field(default={})
    """Settings of `train` that are others than the experiment's."""
    data: AnyTexts = ()
    """Rows to train on, where they are others than data.train."""
    adapters: AnyTexts = ()
    """Folders of adapters that were trained elsewhere (PEFT's format), each a replicate; then nothing is trained, and
    `template` is what they are prompted with as their own."""

    @model_validator(mode="after")
    def _train_nothing_that_is_trained(self) -> Self:
        if self.adapters and (self.train or self.data or len(self.template) > 1):
            raise ValueError("adapters from elsewhere have one template, and no train and no data: they are trained")
        return self


@dataclass(frozen=True)
class Recipe:
    """One variant with all that it is trained by."""

    variant: Variant
    train: TrainSettings
    data: tuple[str, ...]
    """Files or hub ids, as data.train."""
    place: str = ""
    """Where it was declared, for messages."""
    adapters: tuple[str, ...] = ()
    """Folders of adapters that were trained elsewhere, by absolute path; nothing is trained then."""

    @property
    def content(self) -> tuple[Any, ...]:
        """What makes it another recipe than others."""
        return self.variant.templates, self.train, self.data, self.adapters


class UntunedSettings(Settings):
    """What the untuned model gets to show what it can do without training."""

    shots: Shots = (0,)
    """Training rows in its prompt as examples, as 0 (none) or 4: each number is tried under every template."""
    draws: Draws = 6
    """Sets of such rows, drawn by chance, 6 or more: with fewer than three to test, what differs from draw to draw
    would be left out of the interval. Half of them choose how the untuned model is at its best, the others are
    tested."""


class CompareSettings(Settings):
    """How large an effect must be to matter, and how sure the verdict."""

    margin: Margin = DEFAULT_MARGIN
    """Largest difference that does not matter, in the metric's unit: of each metric, or one number for the
    primary; or a share, as 10% of gain: of what tuning gains over the best untuned model, measured on a third of the
    rows (or probes) that is then not tested. A metric without one is never called EQUIVALENT."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of false alarms to live with; intervals are at 1 - alpha."""
    looks: Count = 1
    """How often the results are looked at while the run grows by seeds, probes or variants; each look tests at
    alpha / looks."""
    factor: Text | None = None
    """What is compared: template, a setting that varies as train.learning_rate, or variant; the template where it
    varies."""
    others: Literal["best", "average", "each"] | None = None
    """What to do with the other settings that vary: the best of each level, chosen on seeds and rows of their own;
    their average; or each by itself, which explores and gives no verdict."""
    choosing_seeds: tuple[Seed, ...] = Field(default=(), strict=False)
    """Seeds that `others: best` chooses on, two or more; they are never tested."""
