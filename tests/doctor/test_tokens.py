"""The doctor tells what a folder and a template say of tokens, before anything is trained on it."""

import io
import json

import pytest
from examined import examined, template
from test_doctor import jinja, of, only

from tokenizer_folders import CORPUS


def test_a_marker_that_is_no_token_here_is_plain_letters(tmp_path, sp_nfkc_folder, byte_bpe_folder):
    chatml = template(prompt_no_input="<|im_start|>{instruction} A:", newline="<NL>")
    marks = {finding.evidence.split(" -> ")[0] for finding in of(
        examined(tmp_path / "a", sp_nfkc_folder, [chatml]), "plain_marker"
    )}  # fmt: skip
    assert marks == {"'<|im_start|>'", "'<NL>'"}
    (found,) = of(examined(tmp_path / "b", byte_bpe_folder, [chatml]), "plain_marker")
    assert "'<NL>', what this template writes for a line break, is no token" in found.message
    assert "['<', 'N', 'L', '>']" in found.evidence


@pytest.mark.parametrize("where", ["template", "probe"])
def test_a_token_beyond_the_embedding_is_an_error(tmp_path, byte_bpe_folder, where):
    (tmp_path / "probes.jsonl").write_text(json.dumps({"id": "p", "instruction": "<|new|>?"}), encoding="utf-8")
    settings = {"added_tokens_decoder": {"600": {"content": "<|new|>"}}}
    prompt = "{instruction} <|new|> A:" if where == "template" else "{instruction} A:"
    changes = {"probes": "probes.jsonl"} if where == "probe" else {}
    changes |= {"settings": settings, "config": {"vocab_size": 600}}
    found = examined(tmp_path, byte_bpe_folder, [template(prompt_no_input=prompt)], **changes)
    finding = only(found, "no_row")
    assert (finding.severity, finding.evidence) == ("error", "'<|new|>' -> id 600")


def test_an_ordinary_token_declared_as_an_end_is_told(tmp_path, byte_bpe_folder):
    found = only(examined(tmp_path, byte_bpe_folder, config={"eos_token_id": [2, 70]}), "odd_end")
    assert (found.severity, found.evidence.startswith("id 70: ")) == ("warning", True)
    assert not of(examined(tmp_path, byte_bpe_folder, config={"eos_token_id": [2, 0]}), "odd_end")


def test_a_flag_that_tokenizer_json_does_not_follow_is_told(tmp_path, byte_bpe_folder):
    found = only(examined(tmp_path, byte_bpe_folder, settings={"add_bos_token": True}), "bos_flag")
    assert "add_bos_token: true, but tokenizer.json's post_processor puts no BOS" in found.message


def test_what_cannot_be_exported_is_told_before_training(tmp_path):
    import sentencepiece

    rows = [{"instruction": "  Name it.", "input": "", "output": "A cat."}]
    bare = template(prompt_no_input="{instruction} A:")
    for kind, legacy, told in (("bpe", True, 0), ("bpe", False, 1), ("word", True, 1)):
        written, folder = io.BytesIO(), tmp_path / f"{kind}{legacy}"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS.splitlines()), model_writer=written, model_type=kind, vocab_size=220,
            character_coverage=1.0, num_threads=1, minloglevel=2, hard_vocab_limit=False,
            normalization_rule_name="identity", remove_extra_whitespaces=False,
        )  # fmt: skip
        (folder / "pieces").mkdir(parents=True)
        (folder / "pieces" / "tokenizer.model").write_bytes(written.getvalue())
        (folder / "pieces" / "tokenizer_config.json").write_text(json.dumps({"legacy": legacy}))
        found = of(examined(folder, folder / "pieces", [bare], rows), "exported_tokens")
        assert len(found) == told, (kind, legacy)
        assert all("no arm could be exported" in finding.message for finding in found)


def test_bytes_of_half_a_character_are_shown_as_bytes(tmp_path, byte_bpe_folder):
    shown = [finding.evidence for finding in examined(tmp_path, byte_bpe_folder, [jinja("</s> 鯖"), template(
        prompt_no_input="{instruction} 鯖 ", newline="鯖"
    )])]  # fmt: skip
    assert any("<0xE9>" in text for text in shown)
    assert not any("é¯" in text for text in shown)
