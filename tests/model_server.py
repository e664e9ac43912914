"""An OpenAI-compatible server of an exported folder on this machine: transformers answers, greedily."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import loopback


@dataclass
class Served:
    """What is served and how; a test may change it between two questions."""

    folder: Path
    routes: tuple[str, ...] = ("/completions", "/chat/completions")
    logprobs: str = "given"
    """given, left out, or refused (422)."""
    counts: bool = True
    stops: bool = True
    """False: it does not stop at the end token, as where generation_config.json is missing."""
    status: int = 200
    wait: float = 0.0
    address: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(self.folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)

    @property
    def url(self) -> str:
        return f"{self.address}/v1"

    def prompt(self, body: dict[str, Any]) -> list[int]:
        if "prompt" in body:
            return self.tokenizer(body["prompt"]).input_ids
        messages = [{key: one[key] for key in ("role", "content")} for one in body["messages"]]
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a response as OpenAI's API has it."""
        import torch

        ids, more = self.prompt(body), {} if self.stops else {"eos_token_id": None}
        made = self.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids)),
            max_new_tokens=body["max_tokens"],
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=3,
            **more,
        )
        new = made.sequences[0, len(ids) :].tolist()
        likely = [row[0].log_softmax(-1)[id].item() for row, id in zip(made.logits, new, strict=True)]
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        if "prompt" in body:
            choice = {"text": text, "logprobs": {"token_logprobs": likely}}
        else:
            choice = {"message": {"content": text}, "logprobs": {"content": [{"logprob": one} for one in likely]}}
        if self.logprobs == "left out" or "logprobs" not in body:
            choice["logprobs"] = None
        usage = {"usage": {"prompt_tokens": len(ids), "completion_tokens": len(new)}} if self.counts else {}
        return {"choices": [choice | {"finish_reason": "stop"}], **usage}


class Handler(loopback.Handler):
    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self.say(200, {"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:  # noqa: N802
        import time

        served, body = self.server.stub, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        served.asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
        if served.wait:  # for one that gives up before
            time.sleep(served.wait)
        elif self.path.removeprefix("/v1") not in served.routes:
            self.say(404, {"detail": "Not Found"})
        elif body["model"] != "tiny":
            self.say(404, {"error": f"the model {body['model']} does not exist"})
        elif served.status != 200:
            self.say(served.status, {"error": f"no, {self.headers['Authorization']}"})
        elif served.logprobs == "refused" and "logprobs" in body:
            self.say(422, {"detail": "Unexpected fields in the request: {'logprobs'}"})
        else:
            self.say(200, served.answer(body))

    def say(self, status: int, what: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(what).encode())


@contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Served]:
    """Serve the model in `folder` until the block ends."""
    served = Served(folder, **how)
    with loopback.serving(Handler, served) as served.address:
        yield served
