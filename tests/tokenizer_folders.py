"""Build small tokenizer folders, one a family, from a bilingual text written for these tests.

The file is not called `tokenizers.py`: pytest puts this folder on the import path, and that would hide the
library of this name.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

CORPUS = """\
日本で一番高い山は富士山です。高さは3776メートルで、静岡県と山梨県にまたがります。
色の三原色は赤、青、黄です。光の三原色は赤、緑、青です。
以下は、あるタスクを記述した指示です。要求に適切に答える応答を書きなさい。
ユーザー: 東京の天気を教えてください。 システム: 今日の東京は晴れです。
コンテキスト: 猫は魚を食べる。犬は肉を食べる。鳥は種を食べる。
### 指示: 次の文を英語に訳してください。 ### 入力: 私は本を読みます。 ### 応答:
水は百度で沸騰し、零度で凍ります。海の水は塩を含むので、少し低い温度で凍ります。
電車は朝八時に駅を出て、九時に港へ着きました。駅員は静かに手を振りました。
祖母は庭で豆と茄子を育て、夏になると近所の子どもに配りました。
質問に対する適切な回答を書きなさい。答えは短く、はっきりと書いてください。
The highest mountain in Japan is Mount Fuji, which is 3776 metres high.
Below is an instruction that describes a task. Write a response that completes the request.
### Instruction: Name three colours. ### Input: paint ### Response: red, blue and yellow
Water boils at one hundred degrees and freezes at zero degrees.
The train left the station at eight and came to the harbour at nine.
A cat eats fish, a dog eats meat, and a bird eats seeds.
You are a helpful assistant. The user asks and the assistant answers.
My grandmother grew beans and aubergines and gave them to the children next door.
What is the capital of France? The capital of France is Paris.
Add the numbers 1, 2, 3, 4, 5, 6, 7, 8, 9 and 10; the sum is 55.
"""

CHATML = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Shaped like SmolLM2-Instruct's: a system line where the caller gives none, ChatML turns."""


def byte_bpe(folder: Path, vocab_size: int = 600) -> Path:
    """Byte-level BPE with ChatML, as SmolLM2 or Qwen: `tokenizer.json`, no BOS in front by default."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|im_end|>",
        "add_bos_token": False,
        "chat_template": CHATML,
    }
    return _with_config(folder, config)


def sp_nfkc(folder: Path, newline: bool = False) -> Path:
    """SentencePiece unigram that folds white space (nmt_nfkc), as rinna's GPT-2: `spiece.model`, T5Tokenizer.

    `newline` adds the piece `<NL>`. Ids: 0 <unk>, 1 <s>, 2 </s>, 3 [PAD], 4 [CLS], 5 [SEP], 6 [MASK].
    """
    symbols = ["<NL>"] if newline else []
    _train_pieces(folder / "spiece.model", symbols, control_symbols=["[CLS]", "[SEP]", "[MASK]"])
    config = {
        "tokenizer_class": "T5Tokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "extra_ids": 0,
        "additional_special_tokens": [],
    }
    return _with_config(folder, config)


def sp_bytes(folder: Path) -> Path:
    """SentencePiece that keeps every character (byte fallback, identity), with `<NL>`: `tokenizer.model`.

    As Llama, with a BOS in front; rinna's 3.6B has such pieces too. Ids: 0 <unk>, 1 <s>, 2 </s>, 3 [PAD].
    """
    _train_pieces(
        folder / "tokenizer.model",
        ["<NL>"],
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
    )
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "[PAD]",
        "add_bos_token": True,
        "add_eos_token": False,
        "legacy": False,
    }
    return _with_config(folder, config)


def sp_bpe(folder: Path, begins_with_blank: bool = False, symbols: Sequence[str] = ()) -> Path:
    """SentencePiece BPE with byte fallback: as Gemma's, with a BOS; or as Llama 2's, with a blank before every text."""
    made = {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    made |= {"add_dummy_prefix": begins_with_blank}
    _train_pieces(folder / "tokenizer.model", ["<start>", "<end>", *symbols], model_type="bpe", **made)
    config = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config |= {"add_bos_token": not begins_with_blank, "add_eos_token": False, "legacy": False}
    return _with_config(folder, config)


FAMILIES = {"byte_bpe": byte_bpe, "sp_nfkc": sp_nfkc, "sp_bytes": sp_bytes}


def _train_pieces(path: Path, symbols: list[str], model_type: str = "unigram", **settings: object) -> None:
    import sentencepiece

    path.parent.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.splitlines()),
        model_writer=written,
        model_type=model_type,
        vocab_size=700,
        hard_vocab_limit=False,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=3,
        pad_piece="[PAD]",
        user_defined_symbols=symbols,
        num_threads=1,
        minloglevel=2,
        **settings,
    )
    path.write_bytes(written.getvalue())


def _with_config(folder: Path, config: dict[str, object]) -> Path:
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder
