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


def write_task(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write a task of rows {"prompt", "choices", "answer"}."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "local.yaml").write_text(TASK.format(data=data), encoding="utf-8")
    return folder / "local.yaml"


def score(model: str, task: Path, chat: bool) -> list[list[float]]:
    """Return [acc, acc_norm] of each document of a task's yaml file, asked in the model's chat template or without."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    lm = HFLM(pretrained=model, dtype="float32", device="cpu", batch_size=8)
    tasks = TaskManager(include_path=str(task.parent), include_defaults=False)
    found = simple_evaluate(
        lm, tasks=[task.stem], task_manager=tasks, log_samples=True, bootstrap_iters=0, apply_chat_template=chat
    )
    samples = sorted(found["samples"][task.stem], key=lambda sample: sample["doc_id"])
    return [[sample["acc"], sample["acc_norm"]] for sample in samples]


def main() -> None:
    warnings.simplefilter("ignore")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": sys.argv[2]}
    asked = json.loads(sys.stdin.read())  # rows, or the path of a task
    task = Path(asked) if isinstance(asked, str) else write_task(asked, Path(sys.argv[2]))
    print(json.dumps(score(sys.argv[1], task, bool(sys.argv[3:]))))


if __name__ == "__main__":
    main()
