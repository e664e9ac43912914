"""What a model's folder declares of its tokens is read as transformers reads it, or refused with both readings."""

import io
import json
import shutil

import pytest
import transformers

from iikata.core.errors import IikataError
from iikata.tokenize import load_tokenizer, tokenizer_config, tokenizer_json
from tokenizer_folders import CORPUS

TEXT = "<|im_start|>user\nThe cat<|im_end|> <|eot|><think>[INST] 富士山</s><pad>"
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}


def token(content, special=True, **flags):
    return {"content": content, **FLAGS, "special": special, **flags}


def in_front(*texts):
    """Return a post-processor that puts these tokens before a text."""
    pieces = [{"SpecialToken": {"id": text, "type_id": 0}} for text in texts]
    ids = {"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2}
    tokens = {text: {"id": text, "ids": [ids[text]], "tokens": [text]} for text in texts}
    sequence = [*pieces, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": sequence, "pair": sequence, "special_tokens": tokens}


LLAMA_3 = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
QWEN = {"bos_token": None, "eos_token": "<|im_end|>", "add_bos_token": False, "unk_token": None}
SHAPES = {
    # name: (tokenizer_config.json, its added_tokens_decoder, what tokenizer.json adds, post-processor, other files)
    "Llama 3: BOS by the post-processor": (LLAMA_3, {}, [], in_front("<|endoftext|>"), {}),
    "Llama 3 base": (LLAMA_3 | {"eos_token": "<|endoftext|>"}, {}, [], in_front("<|endoftext|>"), {}),
    "Qwen 2.5": (
        QWEN,
        {"0": token("<|endoftext|>"), "1": token("<|im_start|>"), "2": token("<|im_end|>")},
        [],
        None,
        {"generation_config.json": {"eos_token_id": [2, 0]}},
    ),
    "Qwen 3: think is added and not special": (
        QWEN,
        {"2": token("<|im_end|>"), "600": token("<think>", special=False)},
        [(600, token("<think>", special=False))],
        None,
        {},
    ),
    "added in tokenizer_config.json alone": (
        QWEN | {"eos_token": "<|eot|>"},
        {"600": token("<think>", special=False), "601": token("<|eot|>")},
        [],
        None,
        {"config.json": {"vocab_size": 640, "eos_token_id": 601}},
    ),
    "Phi 3: white space behind is taken": (
        LLAMA_3,
        {"2": token("<|im_end|>", rstrip=True), "600": token("<|eot|>", rstrip=True)},
        [(600, token("<|eot|>"))],
        None,
        {},
    ),
    "special in tokenizer_config.json, plain in tokenizer.json": (
        QWEN,
        {"600": token("<|eot|>")},
        [(600, token("<|eot|>", special=False))],
        None,
        {},
    ),
    "listed as special and nowhere else": (
        QWEN | {"additional_special_tokens": ["<|eot|>", "<|im_end|>"], "pad_token": "<pad>"},
        None,
        [],
        None,
        {},
    ),
    "special_tokens_map.json comes first without a decoder": (
        {"eos_token": "<|im_end|>"},
        None,
        [],
        None,
        {"special_tokens_map.json": {"eos_token": token("<|endoftext|>", special=False), "bos_token": "<|im_start|>"}},
    ),
    "and is out of date beside one": (
        {"eos_token": "<|im_end|>"},
        {"2": token("<|im_end|>")},
        [],
        None,
        {"special_tokens_map.json": {"eos_token": "<|endoftext|>"}},
    ),
    "added_tokens.json": (QWEN, None, [], None, {"added_tokens.json": {"<think>": 600, "<|eot|>": 601}}),
    "a flag that the post-processor does not know": (LLAMA_3 | {"add_bos_token": True}, {}, [], None, {}),
    "a flag against the post-processor": (
        LLAMA_3 | {"add_bos_token": False},
        {},
        [],
        in_front("<|endoftext|>"),
        {},
    ),
}


@pytest.fixture
def shaped(tmp_path, byte_bpe_folder):
    """Give a folder of a shape."""

    def made(config, decoder, added, processor, files):
        folder = shutil.copytree(byte_bpe_folder, tmp_path / "model")
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        content["added_tokens"] += [{"id": id, **token} for id, token in added]
        content["post_processor"] = processor
        declared = config | ({} if decoder is None else {"added_tokens_decoder": decoder})
        declared = {"tokenizer_class": "PreTrainedTokenizerFast", **declared}
        written = {"tokenizer.json": content, "tokenizer_config.json": declared}
        for name, values in ({"config.json": {"model_type": "llama", "vocab_size": 640}} | written | files).items():
            values = {"model_type": "llama"} | values if name == "config.json" else values
            (folder / name).write_text(json.dumps(values), encoding="utf-8")
        return folder

    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_a_folder_is_read_as_transformers_reads_it(shaped, shape):
    folder = shaped(*SHAPES[shape])
    ours, theirs = load_tokenizer(folder), transformers.AutoTokenizer.from_pretrained(folder)
    begins = theirs("The").input_ids[:1] == [theirs.bos_token_id]
    assert ours.bos_id == (theirs.bos_token_id if begins else None)
    assert ours.eos_id == theirs.eos_token_id
    assert ours.ids(TEXT) == theirs.encode(TEXT, add_special_tokens=False)
    assert ours.ids(TEXT, special=False) == theirs.encode(TEXT, add_special_tokens=False, split_special_tokens=True)


def declared(**files):
    return {f"{name}.json": values for name, values in files.items()}


REFUSED = {
    "another id in tokenizer.json": (
        (QWEN, {"601": token("<|eot|>")}, [(600, token("<|eot|>"))], None, {}),
        r'"<\|eot\|>" has the id 601 in tokenizer_config\.json: added_tokens_decoder, and 600 in tokenizer\.json',
    ),
    "a gap before an added token": (
        (QWEN, {"605": token("<|eot|>")}, [], None, {}),
        r'"<\|eot\|>" has the id 605 .*, and 600 in tokenizer\.json',
    ),
    "the id of another token": (
        (QWEN, {"1": token("<|im_end|>")}, [], None, {}),
        r'"<\|im_end\|>" has the id 1 .*, and 2 in tokenizer\.json',
    ),
    "another id in added_tokens.json": (
        (QWEN, None, [], None, declared(added_tokens={"<|im_end|>": 7})),
        r'"<\|im_end\|>" has the id 7 in added_tokens\.json, and 2',
    ),
    "an end beyond vocabulary and embedding": (
        (QWEN, None, [], None, declared(generation_config={"eos_token_id": [2, 128009]})),
        r'generation_config\.json: "eos_token_id" has 128009, but the tokenizer has 600 tokens and the model 640 rows',
    ),
    "an end just beyond the embedding": (
        (QWEN, None, [], None, declared(generation_config={"eos_token_id": 640})),
        r'"eos_token_id" has 640, but the tokenizer has 600 tokens and the model 640 rows',
    ),
    "two tokens before every text": (
        (LLAMA_3, {}, [], in_front("<|im_start|>", "<|endoftext|>"), {}),
        r"tokenizer\.json: this tokenizer puts <\|im_start\|> <\|endoftext\|> before a text",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_declarations_of_two_readings_are_refused_with_both(shaped, case):
    shape, said = REFUSED[case]
    with pytest.raises(IikataError, match=said):
        load_tokenizer(shaped(*shape))


def pieces(folder, kind="bpe", **config):
    """Return a folder with a SentencePiece model alone; ids: 0 <unk>, 1 <s>, 2 </s>."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.splitlines()), model_writer=written, model_type=kind, vocab_size=540,
        character_coverage=1.0, byte_fallback=True, normalization_rule_name="identity", user_defined_symbols=["<NL>"],
        remove_extra_whitespaces=False, num_threads=1, minloglevel=2,
    )  # fmt: skip
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    values = {name: value for name, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("config", "begins"),
    [
        ({"tokenizer_class": "LLaMATokenizer"}, True),  # as the first published LLaMA folders
        ({"tokenizer_class": "LlamaTokenizer"}, True),
        ({"tokenizer_class": "LlamaTokenizerFast"}, True),
        ({}, True),  # by config.json: llama
        ({"tokenizer_class": "LLaMATokenizer", "add_bos_token": False}, False),
        ({"tokenizer_class": "T5Tokenizer"}, False),
    ],
)
def test_a_sentencepiece_model_alone_begins_with_bos_as_its_class_did(tmp_path, config, begins):
    assert load_tokenizer(pieces(tmp_path / "t", **config)).bos_id == (1 if begins else None)


def test_tokens_added_to_a_sentencepiece_model_are_whole_special_or_not(tmp_path):
    # "<unk>" is listed by many folders; SentencePiece never reads it from a text.
    decoder = {"0": token("<unk>"), "600": token("<|eot|>"), "602": token("<think>", special=False)}
    folder = pieces(tmp_path / "t", tokenizer_class="LlamaTokenizer", added_tokens_decoder=decoder, legacy=False)
    tokenizer = load_tokenizer(folder)
    assert [id for id in tokenizer.ids("a<|eot|>b<think>c<NL>") if id >= 600 or id == 3] == [600, 602, 3]
    assert [id for id in tokenizer.ids("a<|eot|>b<think>c", special=False) if id >= 600] == [602]
    assert tokenizer.text([600, 602]) == "<|eot|><think>"
    assert tokenizer.added_tokens == {"<NL>": 3, "<think>": 602}
    assert 0 not in tokenizer.ids("a <unk>")


def test_a_piece_that_the_folder_gives_two_ids_is_refused(tmp_path):
    folder = pieces(tmp_path / "t", added_tokens_decoder={"600": token("</s>")})
    with pytest.raises(IikataError, match=r'"</s>" has the id 600 .*, and 2 in the SentencePiece model'):
        load_tokenizer(folder)


def test_token_that_a_folder_names_itself_reaches_its_chat_template(byte_bpe_folder, tmp_path):
    from iikata.templates import native

    folder = shutil.copytree(byte_bpe_folder, tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["extra_special_tokens"] = {"user_token": "<|im_start|>"}
    settings["chat_template"] = "{{ bos_token }}{{ user_token }}{{ messages[0].content }}{{ none_token }}"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    text = theirs.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False)
    assert text == "<|endoftext|><|im_start|>q"
    assert native(ours.chat_template, ours.named_tokens).render("q").prompt == text
    exported = tmp_path / "exported"
    exported.mkdir()
    (exported / "tokenizer.json").write_text(tokenizer_json(ours), encoding="utf-8")
    (exported / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(ours)), encoding="utf-8")
    again = transformers.AutoTokenizer.from_pretrained(exported)
    assert again.special_tokens_map["user_token"] == "<|im_start|>"


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_sentencepiece_model_alone_is_exported_with_its_own_ids(tmp_path, kind, legacy):
    decoder = {"540": token("<|eot|>"), "541": token("<think>", special=False)}
    folder = pieces(tmp_path / "t", kind, legacy=legacy, added_tokens_decoder=decoder, tokenizer_class="LlamaTokenizer")
    tokenizer = load_tokenizer(folder)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tokenizer.json").write_text(tokenizer_json(tokenizer), encoding="utf-8")
    (tmp_path / "out" / "tokenizer_config.json").write_text(json.dumps(tokenizer_config(tokenizer)), encoding="utf-8")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    texts = [
        *CORPUS.splitlines(),
        "a<NL>b",
        "a   b",
        "x\n\n\ty",
        "🐟鯖 <unk>",
        "a<|eot|>",
        "a <think>b",
        "<s>=====",
        "",
    ]
    if kind == "bpe" and legacy:  # not exact there behind a special token, which the doctor tells
        texts = [text for text in texts if not text.startswith(("<s>", "a <think>"))]
    for text in texts:
        assert theirs.encode(text, add_special_tokens=False) == tokenizer.ids(text)
        one, other = theirs.decode(tokenizer.ids(text)), tokenizer.text(tokenizer.ids(text))
        assert one.replace(" ", "") == other.replace(" ", "")
    assert theirs("a").input_ids[0] == tokenizer.bos_id == 1
