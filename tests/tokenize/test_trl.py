"""TRL's labels are ours where TRL is right, and each place where it is not is named."""

import warnings

import pytest

from iikata.core.records import Example
from iikata.templates import TEMPLATES, native
from iikata.tokenize import encode, encode_prompt, load_tokenizer
from tokenizer_folders import CHATML

ROWS = [
    Example("a", "日本で一番高い山は?", "", "富士山です。\n高さは3776メートルです。"),
    Example("b", "Name the animals.", "A cat eats fish.", "cat and fish"),
    Example("c", "次の文を要約してください。", "猫は魚を食べる。", "猫は魚。"),
]


@pytest.fixture(scope="module")
def tokenizer(byte_bpe_folder):
    return load_tokenizer(byte_bpe_folder)


@pytest.fixture(scope="module")
def trl_rows(byte_bpe_folder, tmp_path_factory):
    """A function: rows with `prompt` and `completion` -> (input_ids, labels) of TRL's own SFTTrainer."""
    pytest.importorskip("trl", reason="TRL is not installed: its labels are not compared")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
        import transformers
        import trl

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=600, **sizes))
    config = {"max_length": None, "use_cpu": True, "report_to": "none", "completion_only_loss": True}

    def tokenized(rows):
        datasets.disable_progress_bars()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = trl.SFTTrainer(
                model,
                args=trl.SFTConfig(output_dir=str(tmp_path_factory.mktemp("trl")), **config),
                train_dataset=datasets.Dataset.from_list(rows),
                processing_class=transformers.AutoTokenizer.from_pretrained(byte_bpe_folder),
            )
        return [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]

    return tokenized


def labels_of(encoded) -> list[int]:
    pairs = zip(encoded.input_ids, encoded.completion_mask, strict=True)
    return [id if counts else -100 for id, counts in pairs]


def as_text(example, template) -> dict[str, str]:
    rendered = template.render(example.instruction, example.input, example.output)
    return {"prompt": rendered.prompt, "completion": rendered.completion}


def as_chat(example) -> dict[str, list[dict[str, str]]]:
    return {
        "prompt": [{"role": "user", "content": example.instruction}],
        "completion": [{"role": "assistant", "content": example.output}],
    }


def test_labels_agree_with_trl_where_the_prompt_ends_at_a_token_border(tokenizer, trl_rows):
    cases = [(example, template) for template in TEMPLATES.values() for example in ROWS]
    # A prompt that ends in a blank ("システム: ") merges with the answer's first word: the next test.
    cases = [case for case in cases if not as_text(*case)["prompt"].endswith(" ")]
    assert len(cases) == 16
    theirs = trl_rows([as_text(*case) for case in cases])
    ours = [encode(*case, tokenizer, 10_000) for case in cases]
    for (ids, labels), encoded in zip(theirs, ours, strict=True):
        assert list(encoded.input_ids) == ids
        assert labels_of(encoded) == labels


def test_trl_trains_on_a_shorter_prompt_where_a_merge_crosses_the_border(tokenizer, trl_rows):
    example, template = Example("m", "x", "", "the sum"), TEMPLATES["rinna"]
    [(ids, labels)] = trl_rows([as_text(example, template)])
    prompt = encode_prompt(template, tokenizer, "x")
    assert labels.index(next(label for label in labels if label != -100)) == len(prompt) - 1
    assert ids[: len(prompt)] != prompt
    assert list(encode(example, template, tokenizer, 100).input_ids[: len(prompt)]) == prompt


def test_trl_trains_an_end_token_inside_an_answer_that_quotes_one(tokenizer, trl_rows):
    example = Example("q", "x", "", "ChatML ends with <|im_end|> always.")
    [(_, labels)] = trl_rows([as_text(example, TEMPLATES["alpaca"])])
    ours = labels_of(encode(example, TEMPLATES["alpaca"], tokenizer, 1000))
    assert labels.count(tokenizer.eos_id) == 2
    assert ours.count(tokenizer.eos_id) == 1


def test_trl_trains_what_a_chat_template_writes_after_the_end_token(tokenizer, trl_rows):
    example = ROWS[0]
    [(ids, labels)] = trl_rows([as_chat(example)])
    encoded = encode(example, native(CHATML, {}), tokenizer, 1000)
    assert labels == [*labels_of(encoded), *tokenizer.ids("\n")]
    assert ids == [*encoded.input_ids, *tokenizer.ids("\n")]
