"""An exported arm prompts, answers and tokenizes elsewhere exactly as it was trained here."""

import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from iikata.cli import main
from iikata.cli.stages import tell_verdict
from iikata.config import read
from iikata.core.errors import IikataError
from iikata.core.records import Example
from iikata.model.adapters import adapter_file
from iikata.model.load import load
from iikata.pipeline import Pipeline
from iikata.pipeline.export import check_tokens, export
from iikata.templates import TEMPLATES, AlpacaTemplate, native, to_jinja, user_message
from iikata.tokenize import chat_template_for, encode, encode_prompt, load_tokenizer, tokenizer_config, tokenizer_json
from tiny_experiment import experiment, write_files
from tokenizer_folders import CHATML, byte_bpe

# peft asks the model by a name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

ROWS = [
    Example("a", "日本で一番高い山は?", "", "富士山です。\n高さは3776メートルです。"),
    Example("b", "Name the animals.", "A cat eats fish and meat.", "cat and fish"),
    Example("c", "  次の文を\n要約してください。 ", "猫は魚を食べる。\n", "猫は魚。"),
    Example("d", "ｶﾞﾗｽ の <unk> \u3000と\tか\u3099", " ", "①と🐟 "),
]


EXPORTED: dict[str, object] = {}
"""Tokenizers that a property has exported already, by hash."""


def reloaded(tokenizer, template, folder: Path):
    from transformers import AutoTokenizer

    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer_json(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(tokenizer)), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(chat_template_for(template, tokenizer), encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@pytest.mark.parametrize("name", [*TEMPLATES, "native"])
def test_chat_template_gives_the_very_tokens_that_are_trained(any_tokenizer, name, tmp_path):
    template = {**TEMPLATES, "native": native(CHATML, {})}[name]
    theirs = reloaded(any_tokenizer, template, tmp_path)
    apart = 0
    for row in ROWS:  # real rows; a tie between two segmentations is another test's
        user, assistant = user_message(row.instruction, row.input), {"role": "assistant", "content": row.output}
        prompt = theirs.apply_chat_template([user], add_generation_prompt=True, return_dict=False)
        assert prompt == encode_prompt(template, any_tokenizer, row.instruction, row.input)
        trained = encode(row, template, any_tokenizer, sys.maxsize)
        whole = theirs.apply_chat_template([user, assistant], return_dict=False)
        bare = prompt if any_tokenizer.bos_id is None else prompt[1:]
        if any_tokenizer.ids(trained.prompt + trained.completion)[: len(bare)] != bare:
            apart += 1  # a prompt that ends in a blank merges with the answer's first word
        elif isinstance(template, AlpacaTemplate):
            assert tuple(whole) == trained.input_ids
        else:  # a chat template goes on after the end token, or writes an end that this vocabulary has not
            assert tuple(whole[: len(trained.input_ids) - 1]) == trained.input_ids[:-1]
    remarks = " ".join(check_tokens(tmp_path, template, any_tokenizer, ROWS))
    assert (f"In {apart} of 4 rows" in remarks) == bool(apart)
    assert ("alone in the run" in remarks) == (name == "native")


PIECES = ["富士山", "です。", "鯖", "の", "a", "The", "🐟", "か\u3099", "ﾃﾞｰﾀ", "ﾊﾟ", "①", "㍿"]
BLANKS = [" ", "  ", "\n", "\u3000", "▁", "\t"]
SPECIAL = ["<|im_end|>", "</s>", "<s>", "<NL>", "<unk>", "[PAD]", "ＡＢ", "\u200b", "…", "é"]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*PIECES, *BLANKS, *SPECIAL]), max_size=8).map("".join))
def test_any_text_has_our_ids_in_the_exported_tokenizer(any_tokenizer, tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / any_tokenizer.hash
    if any_tokenizer.hash not in EXPORTED:
        EXPORTED[any_tokenizer.hash] = reloaded(any_tokenizer, TEMPLATES["plain"], folder)
    theirs = EXPORTED[any_tokenizer.hash]
    assert theirs(text, add_special_tokens=False).input_ids == any_tokenizer.ids(text)


def test_bos_stands_once_in_front_where_the_model_has_one(sp_bytes_folder, tmp_path):
    tokenizer = load_tokenizer(sp_bytes_folder)
    for template in (TEMPLATES["alpaca"], native("{{ bos_token }}{{ messages[0].content }}", {"bos_token": "<s>"})):
        theirs = reloaded(tokenizer, template, tmp_path)
        ids = theirs.apply_chat_template([user_message("q", "")], add_generation_prompt=True, return_dict=False)
        assert ids[0] == tokenizer.bos_id
        assert ids.count(tokenizer.bos_id) == 1
    assert theirs("q").input_ids[0] == tokenizer.bos_id


def test_unknown_text_decodes_as_sentencepiece_decodes_it(sp_nfkc_folder, tmp_path):
    tokenizer = load_tokenizer(sp_nfkc_folder)
    theirs = reloaded(tokenizer, TEMPLATES["plain"], tmp_path)
    ids = tokenizer.ids("a🐟b")
    assert theirs.decode(ids) == tokenizer.text(ids)


def test_first_text_with_other_tokens_is_named_and_nothing_is_believed(byte_bpe_folder, tmp_path):
    tokenizer = load_tokenizer(byte_bpe_folder)
    template = TEMPLATES["alpaca_short"]
    reloaded(load_tokenizer(byte_bpe(tmp_path / "other", vocab_size=400)), template, tmp_path / "folder")
    with pytest.raises(IikataError, match=r"First text that differs .*### Instruction"):
        check_tokens(tmp_path / "folder", template, tokenizer, ROWS)


QUOTES = Example("q", "x", "", "It ends with <|im_end|> always.")
NEWLINE = replace(native("{% for m in messages %}{{ m.content }}\n{% endfor %}", {}), newline="<NL>")
ENDS = "Answers end with {!r} alone in the run; there the chat template writes {!r}."


@pytest.mark.parametrize(
    ("vocabulary", "template", "rows", "told"),
    [
        ("byte_bpe_folder", TEMPLATES["alpaca"], [*ROWS, QUOTES], "In 1 of 5 rows"),
        ("byte_bpe_folder", native(CHATML, {}), ROWS[:1], ENDS.format("<|im_end|>", "<|im_end|>\n")),
        ("sp_bytes_folder", NEWLINE, ROWS, ENDS.format("</s>", "<NL>")),
    ],
    ids=["an answer that quotes an end token", "text after the end token", "a declared newline"],
)
def test_what_differs_and_may_is_told(request, tmp_path, vocabulary, template, rows, told):
    tokenizer = load_tokenizer(request.getfixturevalue(vocabulary))
    reloaded(tokenizer, template, tmp_path)
    (remark,) = check_tokens(tmp_path, template, tokenizer, rows)
    assert remark.startswith(told)


@pytest.fixture(scope="module", params=["llama", "neox_sequential"])
def run(request, tmp_path_factory, model_folder):
    folder = tmp_path_factory.mktemp("export")
    declared = experiment(folder, model_folder(request.param), templates=["alpaca_short", "rinna"])
    pipeline = Pipeline(declared, folder / "run")
    pipeline.run("train", True)
    return pipeline


def our_logits(pipeline, arm, ids):
    from iikata.model.adapters import adapter_file

    base = pipeline.context.base
    base.adapters.load(arm, adapter_file.read(pipeline.context.store.path / "train" / arm)[0])
    base.set_adapter(arm)
    with torch.inference_mode():
        logits = base.logits(base.hidden(torch.tensor([ids]), torch.arange(len(ids))[None]))[0]
    base.adapters.drop(arm)
    return logits


def test_exported_adapter_loads_in_plain_peft_with_the_same_logits(run, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = export(run.context, "alpaca_short.s0", tmp_path / "out", base="owner/name")
    assert (made.base, made.revision) == ("owner/name", None)
    plain = AutoModelForCausalLM.from_pretrained(run.context.model_folder, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(plain, tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer.apply_chat_template([user_message("Say red.", "")], add_generation_prompt=True, return_dict=False)
    with torch.inference_mode():
        theirs = tuned(torch.tensor([ids])).logits[0]
    torch.testing.assert_close(theirs, our_logits(run, "alpaca_short.s0", ids), rtol=1e-4, atol=1e-4)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/name"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_weights_give_the_adapters_logits(run, tmp_path, dtype):
    from transformers import AutoModelForCausalLM

    from iikata.model.adapters.merge import TOLERANCE, merge

    kind = getattr(torch, dtype)
    source = run.context.store.path / "train" / "alpaca_short.s0"
    folder = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(run.context.model_folder, dtype=kind).save_pretrained(folder)
    ids = run.context.encoded["alpaca_short"][0].input_ids
    assert merge(folder, source, tmp_path / "merged", [ids]) <= TOLERANCE[kind]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert merged.dtype == kind
    weights, shape = adapter_file.read(source)
    stored, base = load_file(tmp_path / "merged" / "model.safetensors"), load_file(folder / "model.safetensors")
    for name in {name.rpartition(".")[0] for name in weights}:
        delta = weights[f"{name}.lora_B"] @ weights[f"{name}.lora_A"] * shape.scale
        rounded_once = (base[f"{name}.weight"].float() + delta).to(kind)
        assert torch.equal(stored[f"{name}.weight"], rounded_once)
    if kind == torch.float32:
        with torch.inference_mode():
            theirs = merged(torch.tensor([ids])).logits[0]
        torch.testing.assert_close(theirs, our_logits(run, "alpaca_short.s0", list(ids)), rtol=1e-4, atol=1e-4)
        untuned = load(folder, "float32").model(torch.tensor([ids])).logits[0]
        assert (theirs - untuned).norm() > 100 * 1e-4 * theirs.norm()


def test_merged_weights_that_give_other_logits_are_refused(run, tmp_path, monkeypatch):
    def wrong(tensors, path, metadata):
        save_file({name: 1.1 * tensor for name, tensor in tensors.items()}, path, metadata)

    monkeypatch.setattr("iikata.model.adapters.merge.save_file", wrong)
    with pytest.raises(IikataError, match=r"merged in torch\.float32, its logits move by"):
        export(run.context, "rinna.s1", tmp_path / "out", merge=True)
    assert not (tmp_path / "out").exists()


def test_merged_folder_needs_no_base_and_loads_whole(run, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    export(run.context, "rinna.s1", tmp_path / "out", merge=True)
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Merging moved the logits by" in card
    assert "base_model:" not in card


def test_card_tells_template_data_settings_verdict_and_findings_and_no_path(run, tmp_path):
    store = run.context.store
    store.comparisons.parent.mkdir(exist_ok=True)
    verdict = {"sentence_en": "No difference was found.", "sentence_ja": "差は見つからなかった。"}
    store.comparisons.write_text(json.dumps({"comparisons": [], "verdict": verdict}), encoding="utf-8")
    finding = {"rule": "short_marker", "severity": "warning", "template": "rinna", "message": "Seen *twice*."}
    store.findings.parent.mkdir(exist_ok=True)
    store.findings.write_text(json.dumps([finding, finding | {"template": "plain", "message": "Elsewhere."}]))
    export(run.context, "rinna.s0", tmp_path / "out", base="owner/name")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for part in ("base_model: owner/name", "ユーザー: {instruction}<NL>", "train.jsonl", '"learning_rate": 0.01'):
        assert part in card
    assert "No difference was found." in card
    assert r"short\_marker" in card or "short_marker" in card
    assert "Elsewhere" not in card
    assert str(store.path.parent) not in card
    assert str(run.context.model_folder) not in card


def test_adapter_that_cannot_name_its_base_is_refused(run, tmp_path):
    with pytest.raises(IikataError, match=r"--base OWNER/NAME.*--base \./folder works"):
        export(run.context, "rinna.s0", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    export(run.context, "rinna.s0", tmp_path / "out", base="./folder")
    assert '"base_model_name_or_path": "./folder"' in (tmp_path / "out" / "adapter_config.json").read_text()


def test_unknown_arm_and_a_folder_that_is_there_are_refused(run, tmp_path):
    with pytest.raises(IikataError, match=r'arm "rinna\.s00" is unknown \(did you mean "rinna\.s0"'):
        export(run.context, "rinna.s00", tmp_path / "out", base="o/n")
    with pytest.raises(IikataError, match="is there already"):
        export(run.context, "rinna.s0", tmp_path, base="o/n")


def test_what_a_killed_export_left_is_no_part_of_the_next(run, tmp_path):
    left = tmp_path / ".out.part"
    left.mkdir()
    (left / "half.safetensors").write_bytes(b"half")
    export(run.context, "rinna.s0", tmp_path / "out", base="owner/name")
    assert not (tmp_path / "out" / "half.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_untrained_arm_is_refused(tmp_path, llama_folder):
    write_files(tmp_path)
    pipeline = Pipeline(experiment(tmp_path, llama_folder), tmp_path / "run")
    with pytest.raises(IikataError, match="not trained yet"):
        export(pipeline.context, "plain.s0", tmp_path / "out", base="o/n")


def test_base_is_named_by_its_hub_id_and_commit(tmp_path):
    from iikata.model.files.locate import hub_name

    assert hub_name("smollm2", tmp_path) == ("HuggingFaceTB/SmolLM2-135M-Instruct", None)
    cached = tmp_path / "models--rinna--a-b" / "snapshots" / "0123abc"
    assert hub_name("rinna/a-b", cached) == ("rinna/a-b", "0123abc")
    for named, known in (("rinna/a-b", "rinna/a-b"), ("/home/me/model", None), ("", None)):
        (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": named}))
        assert hub_name(str(tmp_path), tmp_path) == (known, None)


def test_each_adapter_lies_beside_its_chat_template(run):
    text = (run.context.store.path / "train" / "rinna.s0" / "chat_template.jinja").read_text(encoding="utf-8")
    assert text == to_jinja(TEMPLATES["rinna"]).chat_template.removesuffix("\n")


def test_the_command_that_is_told_beside_the_advice_exports_the_recommended_arm(own, monkeypatch, capsys):
    path = own / "run" / "compare" / "comparisons.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    found["verdict"]["recommended"] = {"trained_on": "plain", "seed": 1, "prompted_with": "plain"}
    path.write_text(json.dumps(found), encoding="utf-8")
    assert main(["report", str(own / "run")]) == 0
    pipeline = Pipeline(read(own / "run" / "experiment.yaml"), own / "run")
    tell_verdict(pipeline, "en")
    (told,) = re.findall(r"^To use it elsewhere: (iikata export .*)$", capsys.readouterr().out, re.M)
    assert told in (own / "run" / "report" / "report.md").read_text(encoding="utf-8")
    monkeypatch.chdir(own)
    assert main(shlex.split(told)[1:]) == 0
    assert (own / "plain.s1" / "adapter_model.safetensors").is_file()
    found["verdict"]["recommended"] = None
    path.write_text(json.dumps(found), encoding="utf-8")
    capsys.readouterr()
    tell_verdict(pipeline, "en")
    assert "iikata export" not in capsys.readouterr().out
