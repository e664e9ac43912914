"""Every setting of an experiment: its one home, its default and what it means."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from iikata.config.kinds import (
    Above0,
    AnyTexts,
    Count,
    CountOrNone,
    Dtype,
    Endpoint,
    HeldOut,
    Margin,
    Modules,
    Name,
    NotNegative,
    Quantize,
    Schedule,
    Seed,
    Seeds,
    Text,
    Texts,
    fits_a_file_name,
    refuse_repeats,
)
from iikata.config.places import absolute_path, local_path, template_name
from iikata.core.records import Arm, Cell

DEFAULT_MARGIN: dict[str, float] = {"nll": 0.02, "contains": 0.10}


class Settings(BaseModel):
    """Unknown keys are refused, nothing is changed after reading, and "2" is not taken for 2."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


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

    @model_validator(mode="after")
    def _differ(self) -> Self:
        refuse_repeats((self.instruction, self.input, self.output), " (a row's answer cannot be its question)")
        return self


class DataSettings(Settings):
    """The rows to train on and the rows held out."""

    train: Texts
    """Hub id, or json / jsonl / csv / parquet file, or a list of them."""
    validation: HeldOut = None
    """Rows held out by a hash of their content: how many (0 for none), a share below 1, or a file; where this is not
    given 500, or a tenth where that is less."""
    columns: Columns = Columns()
    """Column names, where they differ from instruction, input, output."""


class LoraSettings(Settings):
    """The adapter's shape."""

    r: Count = 8
    """Rank."""
    alpha: Count = 16
    """The update is scaled by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that are dropped in training."""
    target_modules: Modules = "auto"
    """Modules that get an adapter: auto (what PEFT takes for the architecture), all-linear, or names."""


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
    """Tokens a sample; longer rows are counted and left out, never cut."""
    loss_on: Literal["completion", "all"] = "completion"
    """Tokens that the loss counts: the answer and its end, or the prompt too."""
    checkpoint_seconds: NotNegative = 60
    """Time between saved states, from which a killed run goes on."""
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
    metrics: Texts = Field(
        default=("nll", "contains", "finish", "leakage", "script", "length", "repetition", "chrf"),
        validate_default=True,
    )
    """Metrics to compute: built-in names, or package.module:name."""
    judge: JudgeSettings | None = None
    """Model that compares each answer with the base's under the same template, as the metric judge."""

    @field_validator("metrics")
    @classmethod
    def _name_each_once(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        refuse_repeats(metrics)
        return metrics

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


class CompareSettings(Settings):
    """How large an effect must be to matter, and how sure the verdict."""

    margin: Margin = DEFAULT_MARGIN
    """Largest difference that does not matter, in the metric's unit: of each metric, or one number for the
    primary. A metric without one is never called EQUIVALENT."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of false alarms to live with; intervals are at 1 - alpha."""


class Experiment(Settings):
    """One base model, one data set, several templates: does the template matter, and was LoRA needed?"""

    name: Name = "experiment"
    """Name of the run; a file's own name where it gives none."""
    model: ModelSettings = ModelSettings()
    """The base model."""
    data: DataSettings
    """The rows; `train` at least."""
    templates: Texts
    """Templates to train: built-in names, Alpaca JSON or Jinja files; native is the model's own."""
    prompt_only: AnyTexts = ()
    """Templates that arms and base are prompted with but never trained on."""
    train: TrainSettings = TrainSettings()
    """Training."""
    generate: GenerateSettings = GenerateSettings()
    """Sampling."""
    probes: Text | None = None
    """File of the held-out prompts (jsonl or json); without one nothing is generated."""
    score: ScoreSettings = ScoreSettings()
    """Metrics."""
    compare: CompareSettings = CompareSettings()
    """Statistics."""

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _place: Callable[[tuple[str | int, ...]], str] | None = PrivateAttr(default=None)

    @field_validator("templates", "prompt_only")
    @classmethod
    def _name_each_once(cls, specs: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        trained = info.data.get("templates", ())
        names = [template_name(spec) for spec in (*trained, *specs)]
        refuse_repeats(names, " (a file goes by its name without the ending)")
        for name in names[len(trained) :]:
            if not fits_a_file_name(name) or len(name.encode()) > 100:
                raise ValueError(f'a name that can be part of a file name is allowed, and "{name}" cannot')
        return specs

    @field_validator("compare")
    @classmethod
    def _weigh_known_metrics(cls, compare: CompareSettings, info: ValidationInfo) -> CompareSettings:
        known = info.data["score"].names if "score" in info.data else ()
        for metric in compare.margin if isinstance(compare.margin, dict) and known else ():
            if metric not in (*known, *DEFAULT_MARGIN):
                raise ValueError(f'"{metric}" is not among score.metrics: {", ".join(known)}')
        return compare

    @property
    def folder(self) -> Path:
        """Where relative paths count from: the experiment file's folder."""
        return self._folder

    def at(self, *key: str | int) -> str:
        """Return where a setting was written, as `file:line:column: `; "" where that is not known."""
        return f"{place}: " if self._place and (place := self._place(key)) else ""

    @property
    def margins(self) -> dict[str, float]:
        """The margin of each metric that has one."""
        margin = self.compare.margin
        margins = margin if isinstance(margin, dict) else {self.score.primary: margin}
        return {metric: margins[metric] for metric in self.score.names if metric in margins}

    def arms(self) -> list[Arm]:
        """Return what is to be trained, seed by seed, so that a run cut short has all arms of its first seeds."""
        return [Arm(template_name(spec), seed) for seed in self.train.seeds for spec in self.templates]

    def cells(self) -> list[Cell]:
        """Return every arm, then the base, under every template."""
        prompts = [template_name(spec) for spec in (*self.templates, *self.prompt_only)]
        return [Cell(arm, name) for arm in (*self.arms(), Arm()) for name in prompts]

    def resolved(self) -> dict[str, Any]:
        """Return all settings, defaults too, as YAML or JSON can write them, local files by absolute path."""
        plain = self.model_dump(mode="json")

        def absolute(spec: Any, kind: str) -> Any:
            return str(local_path(spec, self.folder, kind) or spec) if isinstance(spec, str) else spec

        plain["model"]["base"] = absolute(self.model.base, "model")
        plain["model"]["trust_remote_code"] = self.model.trust_remote_code and plain["model"]["base"]
        plain["data"]["train"] = [absolute(spec, "data") for spec in self.data.train]
        plain["data"]["validation"] = absolute(self.data.validation, "data")
        for key in ("templates", "prompt_only"):
            plain[key] = [absolute(spec, "template") for spec in plain[key]]
        plain["probes"] = self.probes and str(absolute_path(self.probes, self.folder))
        return plain
