"""Score a multiple-choice task by lm-eval, which iikata's choice is held against; a test runs this by itself."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

TASK = """task: local
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: choices
doc_to_target: answer
target_delimiter: ""
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def score(model: str, rows: list[dict[str, Any]], folder: Path) -> list[list[float]]:
    """Return [acc, acc_norm] of each row {"prompt", "choices", "answer"}."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "local.yaml").write_text(TASK.format(data=data), encoding="utf-8")
    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8)
    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    found = simple_evaluate(lm, tasks=["local"], task_manager=tasks, log_samples=True, bootstrap_iters=0)
    samples = sorted(found["samples"]["local"], key=lambda sample: sample["doc_id"])
    return [[sample["acc"], sample["acc_norm"]] for sample in samples]


def main() -> None:
    warnings.simplefilter("ignore")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": sys.argv[2]}
    asked = json.loads(sys.stdin.read())
    print(json.dumps(score(sys.argv[1], asked, Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
