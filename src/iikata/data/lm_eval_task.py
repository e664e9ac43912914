"""Read the documents of an lm-eval task as probes: its own prompt text, and its choices or references."""

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError, first_line
from iikata.core.io import shown

INSTEAD = "Or write its questions as probes into a jsonl file."


def read_task(name: str, most: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the documents that lm-eval would score, `most` of them from the first, as (`task: document 17`, fields).

    `name` is one of lm-eval's own tasks, or the path of a task's yaml file. The fields are a probe's: the instruction
    is what lm-eval puts before an answer without examples, the choices come without the delimiter that it puts before
    them. Raises IikataError where lm-eval is missing or cannot load the task, and for a kind of task that is no
    question with choices or references.
    """
    task = _task(name)
    _refuse_other_kinds(name, task)
    for number, doc in enumerate(islice(task.eval_docs, most)):
        source = f"{name}: document {number}"
        try:
            yield source, {"id": f"{task.task_name}-{number}", **_asked(task, doc)}
        except IikataError:
            raise
        except Exception as error:  # the task's own templates and functions make the texts
            raise IikataError(f"{source}: lm-eval cannot make its prompt: {first_line(error)}. {INSTEAD}") from None


def _task(name: str) -> Any:
    try:
        import datasets
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise IikataError(f'probes: "lm_eval:{name}" needs: pip install "iikata[lm-eval]". {INSTEAD}') from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it tells of every default that a task leaves open
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    path = Path(name) if name.endswith((".yaml", ".yml")) else None
    if path and not path.is_file():
        raise IikataError(
            f"{path}: there is no such file. A task's yaml file, or a name that lm-eval knows, is allowed."
        )
    try:
        found = TaskManager(include_defaults=path is None).load(str(path or name))["tasks"]
    except Exception as error:  # yaml, jinja2, datasets and huggingface_hub each raise their own kinds
        names = "`lm-eval ls tasks` lists names."
        paths = "Paths in its dataset_kwargs count from where the command runs."
        fix = f"{paths if path else names} {INSTEAD}"
        raise IikataError(f'probes: lm-eval does not give "{name}" ({first_line(error)}). {fix}') from None
    if len(found) != 1:
        names = ", ".join(list(found)[:8])
        raise IikataError(f'probes: "{name}" is a group of {len(found)} tasks; name one of them: {names:.400}.')
    return next(iter(found.values()))


def _refuse_other_kinds(name: str, task: Any) -> None:
    of_choice = task.OUTPUT_TYPE == "multiple_choice"
    reasons = {
        "it is a Python class of its own, not declared in yaml": not hasattr(task, "multiple_input"),
        "it asks for the likelihood of whole texts, and no question": task.OUTPUT_TYPE == "loglikelihood_rolling",
        "each of its choices is another prompt for one ending": bool(getattr(task, "multiple_input", 0)),
        "more than one of its choices is right": of_choice and bool(getattr(task, "multiple_target", 0)),
        "its questions hold images or sound": getattr(task, "MULTIMODAL", False),
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), None):
        raise IikataError(f'probes: lm-eval\'s task "{name}" cannot be asked here: {reason}.')


def _asked(task: Any, doc: dict[str, Any]) -> dict[str, Any]:
    asked = {"instruction": task.fewshot_context(doc, num_fewshot=0, gen_prefix=task.doc_to_prefix(doc))}
    target = task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "multiple_choice":
        return asked | {"choices": list(task.doc_to_choice(doc)), "answer": target, "sampled": False}
    if isinstance(target, int) and task.config.doc_to_choice is not None:
        target = task.doc_to_choice(doc)[target]
    if not isinstance(target, str | int | float | list):
        raise IikataError(f"its target is {shown(target)}; a text, or a list of texts, is allowed")
    return asked | {"references": [str(one) for one in (target if isinstance(target, list) else [target])]}
