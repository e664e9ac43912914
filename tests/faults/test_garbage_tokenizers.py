"""Model folders whose tokenizer or settings are broken are refused by file and key before anything is tokenized."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harm import Harm, change, cut, hole, in_its_place, raw
from refusal import refused
from sentencepiece import sentencepiece_model_pb2

from iikata.cli import main
from iikata.tokenize.declared import ENDS
from tiny_experiment import written

AGAIN = "Copy the file again from where the model comes"
TOKENIZER, CONFIG, PIECES = "tokenizer.json", "tokenizer_config.json", "tokenizer.model"


def token(id: int, text: str) -> list[dict]:
    switches = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return [{"id": id, "content": text, "special": True, **switches}]


CLS = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
FAST: list[tuple[str, Harm, tuple[str, ...]]] = [
    ("empty", raw(TOKENIZER, b""), (TOKENIZER, "cannot be read", AGAIN)),
    ("torn", cut(TOKENIZER, -200), (TOKENIZER, "cannot be read", AGAIN)),
    ("not UTF-8", raw(TOKENIZER, b'{"\xff'), (TOKENIZER, "not UTF-8 (invalid start byte at byte 3)", AGAIN)),
    ("a folder", in_its_place(TOKENIZER), (f"{TOKENIZER}: a folder", AGAIN)),
    ("a hole", hole(TOKENIZER), (f"{TOKENIZER}: larger than", AGAIN)),
    ("a model nobody knows", change(TOKENIZER, model__type="Magic"), (TOKENIZER, "cannot be read", AGAIN)),
    ("an id below 0", change(TOKENIZER, model__vocab={"a": -1}), (TOKENIZER, "expected u32", AGAIN)),
    ("no vocabulary", change(TOKENIZER, model__vocab={}, model__merges=[]), (TOKENIZER, "into no token at all", AGAIN)),
    ("merges of strangers", change(TOKENIZER, model__merges=[["zz", "yy"]]), (TOKENIZER, "out of vocabulary", AGAIN)),
    ("an unknown token that is not there", change(TOKENIZER, model={
        "type": "WordLevel", "unk_token": "[UNK]", "vocab": {"a": 0}}), (TOKENIZER, "Missing [UNK]", AGAIN)),
    ("a panic while it is read", change(TOKENIZER, normalizer={
        "type": "Precompiled", "precompiled_charsmap": "AAAA"}), (TOKENIZER, "precompiled_charsmap", AGAIN)),
    ("a panic while it is used", change(TOKENIZER, post_processor={
        "type": "TemplateProcessing", "single": CLS, "pair": [], "special_tokens": {}}), (TOKENIZER, AGAIN)),
    ("an added token out of place", change(TOKENIZER, added_tokens=token(99_999, "<x>")),
     (TOKENIZER, '"<x>" cannot have the id 99999', AGAIN)),
    ("settings torn", raw(CONFIG, b'{"eos_token": '), (f"{CONFIG}:1:14: not JSON", AGAIN)),
    ("settings without end", raw(CONFIG, b'{"a":' * 90_000), (f"{CONFIG}:1:1006: not JSON: nested", AGAIN)),
    ("settings not UTF-8", raw(CONFIG, b'{"eos_token": "\xe9"}'), (f"{CONFIG}:1:16: not JSON: not UTF-8", AGAIN)),
    ("end an object", change(CONFIG, eos_token={"id": 2}), (f'{CONFIG}: "eos_token" is {{"id": 2}}', "content", AGAIN)),
    ("end not there", change(CONFIG, eos_token="</nope>"), (f'{CONFIG}: "eos_token" is "</nope>"', "Name one of its")),
    ("no end at all", lambda f: (
        change(CONFIG, eos_token=None)(f), *(change(name, eos_token_id=None)(f) for name in ENDS)),
     ("names no end token", 'Set "eos_token" in tokenizer_config.json')),
    ("the model's end beyond the vocabulary", lambda f: (
        change(CONFIG, eos_token=None)(f), change("config.json", eos_token_id=9999)(f)),
     ('config.json: "eos_token_id" has 9999', "the tokenizer has 600 tokens and the model 768 rows", "correct the id")),
    ("a flag of a token", change(CONFIG, added_tokens_decoder={"2": {"content": "<|im_end|>", "special": "yes"}}),
     (f'{CONFIG}: "added_tokens_decoder" is', "tokens by their ids are allowed")),
    ("the model's end a text", lambda f: (
        change(CONFIG, eos_token=None)(f), change("config.json", eos_token_id="2")(f)),
     ('config.json: "eos_token_id" is "2"', "an id or a list of ids", AGAIN)),
    ("ends true", change("config.json", eos_token_id=[2, True]), ('config.json: "eos_token_id" is [2, true]', AGAIN)),
    ("ends of generation", change("generation_config.json", eos_token_id={}),
     ("generation_config.json", "list of ids", AGAIN)),
    ("generation a list", raw("generation_config.json", b"[]"),
     ("generation_config.json: [] was seen; it should be an object", AGAIN)),
    ("rows a text", change("config.json", vocab_size="768"),
     ('config.json: "vocab_size" is "768"', "from 1 on", AGAIN)),
    ("a start in words", change(CONFIG, add_bos_token="false"), ('"add_bos_token" is "false"', "true or false", AGAIN)),
    ("template a number", change(CONFIG, chat_template=5), ('"chat_template" is 5', "a text, or a list", AGAIN)),
    ("template not UTF-8", raw("chat_template.jinja", b"{{ '\xff' }}"), ("chat_template.jinja: not UTF-8", AGAIN)),
    ("map of numbers", raw("special_tokens_map.json", b'{"bos_token": 1}'),
     ('special_tokens_map.json: "bos_token"', AGAIN)),
    ("nothing at all", lambda folder: (folder / TOKENIZER).unlink(),
     ("no tokenizer here", "nor a SentencePiece model", "Put the tokenizer's files that came with the model")),
]  # fmt: skip


def proto(edit: Callable[[sentencepiece_model_pb2.ModelProto], object]) -> Harm:
    def harm(folder: Path) -> None:
        found = sentencepiece_model_pb2.ModelProto()
        found.ParseFromString((folder / PIECES).read_bytes())
        edit(found)
        (folder / PIECES).write_bytes(found.SerializeToString())

    return harm


NONE = (f"{PIECES}: this is not a SentencePiece model", AGAIN)
SENTENCEPIECE: list[tuple[str, Harm, tuple[str, ...]]] = [
    ("empty", raw(PIECES, b""), NONE),
    ("torn", cut(PIECES, -100), NONE),
    ("no pieces", proto(lambda model: model.ClearField("pieces")), NONE),
    ("a piece twice", proto(lambda model: setattr(model.pieces[300], "piece", model.pieces[301].piece)), NONE),
    ("a broken normalizer", proto(lambda m: setattr(m.normalizer_spec, "precompiled_charsmap", b"\xff" * 4)), NONE),
    ("a hole", hole(PIECES), (f"{PIECES}: larger than", AGAIN)),
    ("added a text", raw("added_tokens.json", b'{"<q>": "x"}'), ('added_tokens.json: "<q>" is "x"', "an id", AGAIN)),
    ("added far away", raw("added_tokens.json", b'{"<q>": 99999999999}'), ('added_tokens.json: "<q>" is 9999', AGAIN)),
    ("declared a list", change(CONFIG, added_tokens_decoder=[1]),
     ('"added_tokens_decoder" is [1]', "by their ids", AGAIN)),
    ("declared nothing", change(CONFIG, added_tokens_decoder={"700": {}}), ("added_tokens_decoder", AGAIN)),
    ("special in a text", change(CONFIG, additional_special_tokens="abc"),
     ("additional_special_tokens", "a list", AGAIN)),
    ("legacy in words", change(CONFIG, legacy="no"), ('"legacy" is "no"', "true or false", AGAIN)),
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory, llama_folder, sp_bytes_folder) -> dict[str, Path]:
    """A model with a tokenizer.json, and one with a SentencePiece model."""
    made = tmp_path_factory.mktemp("models")
    shutil.copytree(llama_folder, made / "fast")
    shutil.copytree(sp_bytes_folder, made / "pieces")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(llama_folder / name, made / "pieces" / name)
    return {name: made / name for name in ("fast", "pieces")}


@pytest.fixture
def broken(folders, tmp_path) -> Callable[[str, Harm], Path]:
    def make(kind: str, harm: Harm) -> Path:
        """Return an experiment over a copy of the model folder that `harm` was done to."""
        shutil.copytree(folders[kind], tmp_path / "model")
        harm(tmp_path / "model")
        return written(tmp_path, tmp_path / "model", templates=["plain"])

    return make


@pytest.mark.parametrize("kind", ["fast", "pieces"])
def test_the_folder_that_nobody_broke_is_taken(kind, broken, capsys):
    main(["check", str(broken(kind, lambda folder: None))])
    assert "iikata: " not in capsys.readouterr().err


@pytest.mark.parametrize(("harm", "said"), [row[1:] for row in FAST], ids=[row[0] for row in FAST])
def test_a_broken_tokenizer_json_or_its_settings_are_refused(harm, said, broken, capsys, tally, tmp_path):
    tally("inputs tried")
    path = broken("fast", harm)
    refused(["check", str(path)], capsys, str(tmp_path / "model"), *said)
    refused(["encode", str(path), "--out", str(tmp_path / "run")], capsys, str(tmp_path / "model"), *said)
    assert not (tmp_path / "run" / "encode").exists()


@pytest.mark.parametrize(("harm", "said"), [row[1:] for row in SENTENCEPIECE], ids=[row[0] for row in SENTENCEPIECE])
def test_a_broken_sentencepiece_model_or_its_settings_are_refused(harm, said, broken, capsys, tally, tmp_path):
    tally("inputs tried")
    refused(["check", str(broken("pieces", harm))], capsys, str(tmp_path / "model"), *said)
