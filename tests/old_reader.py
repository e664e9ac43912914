"""Read exported folders with whatever transformers and peft are installed; a test runs this with old ones."""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer


def read(folder: Path) -> dict[str, float]:
    """Return by what share the logits of a folder's adapter and of its merged weights differ from those beside them."""
    kept, found = load_file(folder / "wanted.safetensors"), {}
    for kind in ("adapter", "merged"):
        base = AutoModelForCausalLM.from_pretrained(
            folder / ("base" if kind == "adapter" else kind), torch_dtype=torch.float32, attn_implementation="eager"
        )
        model = PeftModel.from_pretrained(base, str(folder / kind)) if kind == "adapter" else base
        with torch.no_grad():
            logits = model.eval()(kept["ids"]).logits[0]
        found[kind] = float((logits - kept["logits"]).norm() / kept["logits"].norm())
        if (folder / kind / "tokenizer.json").is_file():
            tokenizer = AutoTokenizer.from_pretrained(folder / kind)
            message = json.loads((folder / "message.json").read_text(encoding="utf-8"))
            ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_dict=False)
            found[f"{kind}'s tokens"] = float(ids != kept["ids"][0].tolist())
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    folders = [folder for folder in map(Path, sys.argv[1:]) if known(folder)]
    print(json.dumps({folder.name: read(folder) for folder in folders}))


def known(folder: Path) -> bool:
    return json.loads((folder / "base" / "config.json").read_text())["model_type"] in CONFIG_MAPPING


if __name__ == "__main__":
    main()
