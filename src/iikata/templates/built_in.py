"""The templates that come with iikata."""

from iikata.core.registry import Shelf
from iikata.templates.alpaca import AlpacaTemplate
from iikata.templates.template import Template

TEMPLATES: Shelf[Template] = Shelf(
    "template",
    {
        "alpaca": AlpacaTemplate(
            "alpaca",
            description="The prompts of Alpaca and Alpaca-LoRA.",
            prompt_input=(
                "Below is an instruction that describes a task, paired with an input that provides "
                "further context. Write a response that appropriately completes the request.\n\n"
                "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
            ),
            prompt_no_input=(
                "Below is an instruction that describes a task. "
                "Write a response that appropriately completes the request.\n\n"
                "### Instruction:\n{instruction}\n\n### Response:\n"
            ),
            response_split="### Response:",
        ),
        "alpaca_short": AlpacaTemplate(
            "alpaca_short",
            description="Alpaca-LoRA's prompts without the preamble.",
            prompt_input="### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
            prompt_no_input="### Instruction:\n{instruction}\n\n### Response:\n",
            response_split="### Response:",
        ),
        # The post's two (if001/redpajama-lora-instruct-ja), letter for letter: prompt_no_input of dolly_ja has lost
        # its 。 and the prompts of dolly_ja_rinna end differently. The template doctor tells of it.
        "dolly_ja": AlpacaTemplate(
            "dolly_ja",
            description="Alpaca in Japanese, as the post trained it.",
            prompt_input=(
                "以下は、タスクを記述する命令と、さらなるコンテキストを提供する入力の組み合わせです。"
                "依頼を適切に完了させる応答を書きなさい。\n\n"
                "### 指示:\n{instruction}\n\n### 入力:\n{input}\n\n### 応答:\n"
            ),
            prompt_no_input=(
                "以下は、ある作業を記述した指示です。依頼を適切に完了させる応答を書きなさい\n\n"
                "### 指示:\n{instruction}\n\n### 応答:\n"
            ),
            response_split="### 応答:",
        ),
        "dolly_ja_rinna": AlpacaTemplate(
            "dolly_ja_rinna",
            description="The post's template in the shape of rinna's own.",
            prompt_input=(
                "以下は、タスクのコンテキストとユーザーの入力です。適切な応答を出力してください。"
                "<NL><NL>コンテキスト: {input}<NL><NL>ユーザー: {instruction}<NL><NL>システム: "
            ),
            prompt_no_input=(
                "以下は、ユーザーの入力です。適切な応答を出力してください。"
                "<NL><NL>ユーザー: {instruction}<NL><NL>システム: <NL>"
            ),
            response_split="システム: ",
        ),
        "dolly_ja_asked": AlpacaTemplate(
            "dolly_ja_asked",
            description="The wording the post sampled with and never trained.",
            prompt_input=(
                "以下は、あるタスクを記述した指示です。質問に対する適切な回答を書きなさい。\n\n"
                "### 指示:\n{instruction}\n\n### 入力:\n{input}\n\n### 応答:\n"
            ),
            prompt_no_input=(
                "以下は、あるタスクを記述した指示です。質問に対する適切な回答を書きなさい。\n\n"
                "### 指示:\n{instruction}\n\n### 応答:\n"
            ),
            response_split="### 応答:",
        ),
        "rinna": AlpacaTemplate(
            "rinna",
            description="The format of rinna's instruction models: no preamble, <NL> for a line break.",
            newline="<NL>",
            prompt_input="ユーザー: {instruction}<NL>{input}<NL>システム: ",
            prompt_no_input="ユーザー: {instruction}<NL>システム: ",
            response_split="システム: ",
        ),
        "plain": AlpacaTemplate(
            "plain",
            description="The row's own text and nothing else.",
            prompt_input="{instruction}\n\n{input}\n",
            prompt_no_input="{instruction}\n",
        ),
    },
    lambda item: isinstance(item, Template),
    "an object of a class that derives from iikata.templates.Template",
)
