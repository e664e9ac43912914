"""A tokenizer gives the ids its own library gives, for every family, and adds nothing of its own."""

import json
import re
import shutil

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from iikata.tokenize import disagreement, load_tokenizer
from iikata.tokenize.tokenizer import any_of
from tokenizer_folders import byte_bpe, sp_bpe, sp_nfkc

TEXTS = [
    "日本で一番高い山は富士山です。",
    "鯖と鮪、ﾊﾝﾊﾞｰｸﾞ。",
    "a\nb  c ",
    " システム: ",
    "The cat eats fish. 🐟",
    "",
]
NO_CONTROL = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


def settle(folder, **changes):
    """Return the folder with settings of its tokenizer_config.json changed; None removes one."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}), encoding="utf-8")
    return folder


def of_backend(folder, tokenizer, **config):
    """Return a folder with the tokenizer.json of a `tokenizers.Tokenizer`."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def by_lines(folder, begins_with_blank):
    """SentencePiece BPE that is read line by line, and keeps runs of line breaks and blanks whole as Gemma's does."""
    folder = sp_bpe(folder, begins_with_blank, ["\n", "\n\n", "\n\n\n", "▁▁", "山\t"])
    return settle(folder, added_tokens_decoder={"800": {"content": "<NL>"}, "801": {"content": "<NL><NL>"}})


@pytest.fixture(scope="module")
def sp_lines_folder(tmp_path_factory):
    return by_lines(tmp_path_factory.mktemp("lines"), begins_with_blank=False)


@pytest.fixture(scope="module")
def sp_blank_folder(tmp_path_factory):
    return by_lines(tmp_path_factory.mktemp("blank"), begins_with_blank=True)


MODELS = ("sp_bytes_folder", "sp_lines_folder", "sp_blank_folder")
FILES = ["sp_nfkc_folder/spiece.model", *(f"{name}/tokenizer.model" for name in MODELS)]
MARKED = st.lists(st.sampled_from(["<NL>", "<NL", ">", "<start>", "<|im_start|>", "<|im", "\n", "a", "色 ", " "])).map(
    "".join
)
LINES = st.lists(st.sampled_from(["\n", "\n\n", " ", "  ", "山", "\t", "The", "cat ", "\r", "🐟", "。"])).map("".join)


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.one_of(st.sampled_from(TEXTS), NO_CONTROL, LINES))
def test_ids_are_sentencepieces_own(file, text, request):
    import sentencepiece

    fixture, _, name = file.partition("/")
    folder = request.getfixturevalue(fixture)
    own, tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(folder / name)), loaded(folder)
    assume(not tokenizer.has_special(text))  # whose text SentencePiece never reads as the token
    assert tokenizer.ids(text) == own.encode(text)


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("file", [*FILES, "byte_bpe_folder/"])
@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.one_of(LINES, MARKED), more=st.one_of(LINES, MARKED))
@example(text="a<NL>", more="<NL>b")
def test_what_is_behind_a_cut_is_read_apart_whatever_follows(file, special, text, more, request):
    tokenizer = loaded(request.getfixturevalue(file.partition("/")[0]))
    assume(special or not tokenizer.has_special(text))
    at, start = tokenizer.cut(text)
    parts = tokenizer.ids(text[:at], special) + tokenizer.ids(text[at:] + more, special, start)
    assert parts == tokenizer.ids(text + more, special)


def test_a_prompt_is_cut_before_its_last_line_or_behind_its_last_token(
    sp_lines_folder, byte_bpe_folder, sp_nfkc_folder
):
    lines, tokens, none = map(loaded, (sp_lines_folder, byte_bpe_folder, sp_nfkc_folder))
    assert lines._reads_by_line
    assert lines.cut("色は何\n\n### 応答:\n\n") == (len("色は何\n\n### 応答:"), False)
    assert tokens.cut("a<|im_end|>\n<|im_start|>a longer line") == (len("a<|im_end|>\n"), True)
    assert tokens.cut("a<|im_end|>\n<|im_start|>") == (1, True)
    assert none.cut("色は何\n\n### 応答:\n") == (0, True)


def test_what_may_become_a_longer_token_is_not_cut(byte_bpe_folder, tmp_path):
    from tokenizers import Tokenizer

    own = Tokenizer.from_file(str(byte_bpe_folder / "tokenizer.json"))
    own.add_special_tokens(["a<|im_start|>b"])
    tokenizer = load_tokenizer(of_backend(tmp_path / "own", own, eos_token="<|im_end|>"))
    assert tokenizer.cut("x" * 20 + "a<|im_start|>") == (0, True)
    assert tokenizer.cut("x" * 20 + "a<|im_start|>cd") == (21, True)


_LOADED = {}


def loaded(folder):
    if folder not in _LOADED:
        _LOADED[folder] = load_tokenizer(folder)
    return _LOADED[folder]


def test_unknown_character_is_unknown_and_not_the_end_of_the_text(sp_nfkc_folder):
    # transformers 5.23 gives 2, which is </s> here.
    tokenizer = loaded(sp_nfkc_folder)
    assert tokenizer.ids("鯖") == [tokenizer.ids("富")[0], tokenizer.unk_id]
    assert (tokenizer.unk_id, tokenizer.eos_id) == (0, 2)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_text_equal_transformers_on_a_tokenizer_json(byte_bpe_folder, text):
    transformers = pytest.importorskip("transformers")
    oracle = transformers.AutoTokenizer.from_pretrained(byte_bpe_folder)
    tokenizer = loaded(byte_bpe_folder)
    quoting = f"{text}<|im_end|>\n{text}"
    assert tokenizer.ids(quoting) == oracle.encode(quoting, add_special_tokens=False)
    plain = oracle.encode(quoting, add_special_tokens=False, split_special_tokens=True)
    assert tokenizer.ids(quoting, special=False) == plain
    assert tokenizer.text(tokenizer.ids(quoting)) == quoting


def test_special_text_is_a_special_token_only_where_asked(any_tokenizer):
    end = any_tokenizer.named_tokens["eos_token"]
    text = f"a{end}b"
    assert any_tokenizer.ids(text).count(any_tokenizer.eos_id) == 1
    assert any_tokenizer.eos_id not in any_tokenizer.ids(text, special=False)
    assert any_tokenizer.text(any_tokenizer.ids(text)) == text


def test_text_that_goes_on_gets_no_blank_in_front(any_tokenizer):
    whole = any_tokenizer.ids("富士山")
    goes_on = any_tokenizer.ids("富士山", start=False)
    assert "".join(map(any_tokenizer.token, goes_on)) == "富士山" or whole == goes_on
    assert not any_tokenizer.token(goes_on[0]).startswith("▁")


def test_blank_of_byte_level_is_left_out_where_the_text_goes_on(tmp_path, byte_bpe_folder):
    folder = shutil.copytree(byte_bpe_folder, tmp_path / "blank")
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["pre_tokenizer"]["add_prefix_space"] = True
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    blank, plain = load_tokenizer(folder), load_tokenizer(byte_bpe_folder)
    assert blank.ids("The cat") == plain.ids(" The cat")
    assert blank.ids("The cat", start=False) == plain.ids("The cat")


def test_prefix_of_a_llama_2_tokenizer_json_is_left_out_where_the_text_goes_on(tmp_path):
    from tokenizers import Tokenizer, models, normalizers

    model = models.BPE({"<s>": 0, "▁": 1, "a": 2, "▁a": 3, "<unk>": 4}, [("▁", "a")], unk_token="<unk>")
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer = load_tokenizer(of_backend(tmp_path / "llama2", backend, eos_token="<s>"))
    assert tokenizer.ids("a a") == [3, 3]
    assert tokenizer.ids("a a", start=False) == [2, 3]


def test_user_defined_special_token_is_plain_text_where_asked(tmp_path):
    # Llama-style chat models define their end of turn as a SentencePiece symbol.
    folder = settle(sp_nfkc(tmp_path / "t", newline=True), eos_token="<NL>")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.eos_id == 7
    assert 7 in tokenizer.ids("a<NL>b")
    assert 7 not in tokenizer.ids("a<NL>b", special=False)


def test_added_tokens_beside_a_sentencepiece_model_keep_their_ids(tmp_path):
    folder = sp_nfkc(tmp_path / "t")
    size = load_tokenizer(folder).vocab_size
    settle(folder, added_tokens_decoder={str(size): {"content": "<|end|>"}}, eos_token="<|end|>")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.eos_id == size
    assert tokenizer.vocab_size == size + 1
    assert tokenizer.ids("a<|end|>")[-1] == size
    assert tokenizer.text([size]) == "<|end|>"


@pytest.mark.parametrize(
    ("changes", "has_bos"),
    [({}, True), ({"add_bos_token": False}, False), ({"add_bos_token": None}, True)],
)
def test_bos_is_put_in_front_where_the_models_default_does(tmp_path, sp_bytes_folder, changes, has_bos):
    folder = settle(shutil.copytree(sp_bytes_folder, tmp_path / "t"), **changes)
    assert (load_tokenizer(folder).bos_id == 1) is has_bos


def test_bos_default_is_read_from_a_post_processor(tmp_path, byte_bpe_folder):
    from tokenizers import Tokenizer, processors

    folder = settle(shutil.copytree(byte_bpe_folder, tmp_path / "t"), add_bos_token=None)
    assert load_tokenizer(folder).bos_id is None
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>", special_tokens=[("<|endoftext|>", 0), ("<|im_end|>", 2)]
    )
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.bos_id == 0
    assert not {0, 2} & set(tokenizer.ids("a"))


def test_half_a_character_is_shown_as_a_replacement(byte_bpe_folder, sp_bytes_folder):
    for folder in (byte_bpe_folder, sp_bytes_folder):
        tokenizer = loaded(folder)
        ids = tokenizer.ids("鯖")
        assert tokenizer.text(ids) == "鯖"
        assert set(tokenizer.text(ids[:1])) == {"\ufffd"}
        assert [tokenizer.whole_text(ids[:n]) for n in range(len(ids) + 1)] == [*[""] * len(ids), "鯖"]


def test_readable_tokens_of_a_byte_level_vocabulary(byte_bpe_folder):
    tokenizer = loaded(byte_bpe_folder)
    assert "".join(tokenizer.token(id) for id in tokenizer.ids("は赤です a")) == "は赤です a"
    assert "".join(tokenizer.token(id) for id in tokenizer.ids("鯖")) == "<0xE9><0xAF><0x96>"


def test_an_encoded_row_is_shown_in_whole_characters(byte_bpe_folder):
    from iikata.core.records import Example
    from iikata.templates import TEMPLATES
    from iikata.tokenize import encode, pieces

    tokenizer = loaded(byte_bpe_folder)
    row = encode(Example("a", "鯖?", "", "魚🐟 fish"), TEMPLATES["plain"], tokenizer, 100)
    shown = list(pieces(row, tokenizer))
    assert "".join(text for text, _ in shown) == "鯖?\n魚🐟 fish<|im_end|>"
    assert ("鯖", False) in shown
    assert ("🐟", True) in shown
    cut = encode(Example("a", "鯖", "", "魚"), TEMPLATES["plain"], tokenizer, 2)
    assert [text for text, _ in pieces(cut, tokenizer)] == ["<0xE9><0xAF>"]


def test_hash_follows_the_vocabulary_and_its_names(tmp_path, byte_bpe_folder):
    same = shutil.copytree(byte_bpe_folder, tmp_path / "same")
    other = shutil.copytree(byte_bpe_folder, tmp_path / "other")
    assert load_tokenizer(same).hash == loaded(byte_bpe_folder).hash
    assert load_tokenizer(settle(other, eos_token="<|endoftext|>")).hash != loaded(byte_bpe_folder).hash
    assert load_tokenizer(byte_bpe(tmp_path / "small", 400)).hash != loaded(byte_bpe_folder).hash


def test_disagreement_of_a_converted_vocabulary_is_found(tmp_path, sp_nfkc_folder):
    import sentencepiece
    from tokenizers import Tokenizer, models, pre_tokenizers

    own = sentencepiece.SentencePieceProcessor(model_file=str(sp_nfkc_folder / "spiece.model"))
    pieces = [(own.id_to_piece(i), own.get_score(i)) for i in range(len(own))]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    folder = of_backend(tmp_path / "both", backend, eos_token="</s>")
    shutil.copy(sp_nfkc_folder / "spiece.model", folder)
    tokenizer = load_tokenizer(folder)
    found = disagreement(tokenizer, folder, ["富士山です。", "鯖です。", "</s>"])
    assert found == [("鯖です。", [7, 2, *own.encode("です。")[1:]], own.encode("鯖です。"))]


def test_no_disagreement_where_sentencepiece_itself_runs_or_there_is_none(sp_nfkc_folder, byte_bpe_folder):
    for folder in (sp_nfkc_folder, byte_bpe_folder):
        assert disagreement(loaded(folder), folder, TEXTS) == []


def test_chat_template_is_found_in_its_file_or_in_the_config(tmp_path, byte_bpe_folder):
    folder = shutil.copytree(byte_bpe_folder, tmp_path / "t")
    assert "im_start" in load_tokenizer(folder).chat_template
    (folder / "chat_template.jinja").write_text("newer", encoding="utf-8")
    assert load_tokenizer(folder).chat_template == "newer"
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert load_tokenizer(settle(folder, chat_template=named)).chat_template == "d"


def test_vocabulary_of_an_older_format_is_converted(tmp_path, byte_bpe_folder):
    pytest.importorskip("transformers")
    model = json.loads((byte_bpe_folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}', encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "eos_token_id": 0}', encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.ids("Mount Fuji です") == loaded(byte_bpe_folder).ids("Mount Fuji です")
    assert tokenizer.eos_id == 0


def _metaspace(scheme):
    from tokenizers import pre_tokenizers

    def change(backend):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)

    return change


def _prepend(backend):
    from tokenizers import normalizers

    backend.normalizer = normalizers.Prepend("x")


def _added(**how):
    from tokenizers import AddedToken

    def change(backend):
        backend.add_tokens([AddedToken("<end>", **{"normalized": False, **how}), AddedToken("<e", normalized=False)])

    return change


BACKENDS = {
    "as it is": lambda backend: None,
    "a blank in front": _metaspace("first"),
    "a blank in front of each part": _metaspace("always"),
    "a letter in front": _prepend,
    "an added token": _added(),
    "one that takes blanks before it": _added(lstrip=True),
    "one that takes blanks behind it": _added(rstrip=True),
    "a whole word": _added(single_word=True),
    "one that is found later": _added(normalized=True),
}
MARKS = ["<|im_end|>", "<|im_start|>", "<end>", "<e", "nd>", "<|im", "\n", " ", "  ", "色", "cat", "s"]


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("change", BACKENDS)
def test_a_text_in_pieces_has_the_tokens_of_the_whole_one(byte_bpe_folder, tmp_path, change, start):
    from tokenizers import Tokenizer

    from iikata.tokenize.hf_fast import backend, without_prefix

    own = Tokenizer.from_file(str(byte_bpe_folder / "tokenizer.json"))
    BACKENDS[change](own)
    config = json.loads((byte_bpe_folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(of_backend(tmp_path / "own", own, **config))
    content = json.loads(own.to_str())
    whole = backend(json.dumps(content if start else without_prefix(content)), tokenizer.special_tokens)

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(MARKS), max_size=9).map("".join))
    def holds(text):
        for _ in range(2):  # the second time from what is remembered
            assert tokenizer.ids(text, start=start) == whole.encode(text, add_special_tokens=False).ids

    holds()


@given(st.sets(st.text("a<|\n", min_size=1, max_size=12)), st.text("a<|\n", max_size=60))
def test_of_texts_that_begin_alike_the_longest_is_found(texts: set[str], text: str) -> None:
    longest_first = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) or "(?!)")
    spans = [found.span() for found in any_of(texts).finditer(text)]
    assert spans == [found.span() for found in longest_first.finditer(text)]


def test_a_vocabulary_may_have_runs_of_a_thousand_newlines() -> None:
    found = any_of("\n" * length for length in range(1, 1001)).search("a" + "\n" * 1500)
    assert found is not None
    assert found.span() == (1, 1001)
