"""Save an adapter with whatever peft is installed, and the logits that it gives; a test runs this with an old one."""

import sys
from pathlib import Path

import peft
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

KINDS = {
    "lora": {"target_modules": ["q_proj", "v_proj"]},
    "rslora": {"target_modules": ["q_proj", "up_proj"], "use_rslora": True, "rank_pattern": {"up_proj": 6}},
    "expression": {"target_modules": r".*layers\.1\..*proj", "alpha_pattern": {"k_proj": 3}},
    "all": {"target_modules": "all-linear"},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
}


def write(base: Path, dest: Path, ids: torch.Tensor) -> None:
    """Save an adapter of each kind to dest/KIND, with wanted.safetensors beside it."""
    for kind, settings in KINDS.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(base, torch_dtype=torch.float32)
        config = LoraConfig(r=4, lora_alpha=8, init_lora_weights=False, task_type="CAUSAL_LM", **settings)
        tuned = get_peft_model(model, config).eval()
        tuned.save_pretrained(dest / kind)
        with torch.no_grad():
            logits = tuned(input_ids=ids).logits[0]
        save_file({"ids": ids, "logits": logits.contiguous()}, dest / kind / "wanted.safetensors")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), torch.arange(5, 25)[None])
    print(peft.__version__)
