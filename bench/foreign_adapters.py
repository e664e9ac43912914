"""Make adapters as other trainers do, over the demo's rows: what docs/adapters.md looks at.

    python bench/foreign_adapters.py MODEL DEST --by trl [--seed 0]      # TRL's SFTTrainer
    python bench/foreign_adapters.py MODEL DEST --by peft [--kind rslora] # peft and a loop; runs with peft 0.13 too

MODEL is a folder with a chat template. The adapter names its base as --name, not as a folder of this machine.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS = Path(__file__).parents[1] / "src" / "iikata" / "demo" / "train.jsonl"
TARGETS = ["q_proj", "v_proj", "o_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"use_rslora": True, "rank_pattern": {"o_proj": 4}},
    "dora": {"use_dora": True},
}


def by_peft(args: argparse.Namespace, config: LoraConfig) -> Any:
    """Train with peft and AdamW alone, four rows at a time."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    base = AutoModelForCausalLM.from_pretrained(args.model, torch_dtype=torch.float32)
    model = get_peft_model(base, config)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    turns, order = messages(), torch.randperm(160, generator=torch.Generator().manual_seed(args.seed)).tolist()
    for start in range(0, args.rows, 4):
        losses = []
        for row in order[start : start + 4]:
            asked = tokenizer.apply_chat_template(turns[row][:1], tokenize=False, add_generation_prompt=True)
            whole = tokenizer.apply_chat_template(turns[row], tokenize=False)
            ids = tokenizer(whole, return_tensors="pt").input_ids
            labels = ids.clone()
            labels[:, : len(tokenizer(asked).input_ids)] = -100
            losses.append(model(input_ids=ids, labels=labels).loss)
        torch.stack(losses).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def by_trl(args: argparse.Namespace, config: LoraConfig) -> Any:
    """Train with TRL, which saves the tokenizer beside the adapter."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    turns = messages()[: args.rows]
    rows = Dataset.from_list([{"prompt": turn[:1], "completion": turn[1:]} for turn in turns])
    settings = SFTConfig(
        output_dir=str(args.dest),
        num_train_epochs=1,
        per_device_train_batch_size=4,
        learning_rate=2e-3,
        seed=args.seed,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
    )
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    trainer = SFTTrainer(model, settings, train_dataset=rows, peft_config=config, processing_class=tokenizer)
    trainer.train()
    trainer.processing_class.save_pretrained(args.dest)
    return trainer.model


def messages() -> list[list[dict[str, str]]]:
    rows = map(json.loads, ROWS.read_text(encoding="utf-8").splitlines())
    return [
        [{"role": "user", "content": row["instruction"]}, {"role": "assistant", "content": row["output"]}]
        for row in rows
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("dest", type=Path)
    parser.add_argument("--by", choices=("trl", "peft"), default="peft")
    parser.add_argument("--kind", choices=KINDS, default="lora")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--name", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.manual_seed(args.seed)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=TARGETS, task_type="CAUSAL_LM", **KINDS[args.kind])
    model = {"trl": by_trl, "peft": by_peft}[args.by](args, config)
    for one in model.peft_config.values():
        one.base_model_name_or_path = args.name
    model.save_pretrained(args.dest)


if __name__ == "__main__":
    main()
