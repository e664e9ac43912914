"""A Modelfile: how Ollama prompts an exported .gguf file, as the arm was trained."""

from iikata import tokenize
from iikata.core.errors import IikataError
from iikata.pipeline.gguf_file import FILE
from iikata.templates import Template

ASKED = "Q7INSTRUCTION7Q"


def modelfile(template: Template, tokenizer: tokenize.Tokenizer) -> str:
    """Return the Modelfile's text: one question without an input, each token that ends an answer as a stop.

    Raises IikataError where the template's own text means something else to Ollama.
    """
    prompt = template.render(ASKED).prompt
    bos = tokenizer.named_tokens.get("bos_token") if tokenizer.bos_id is not None else None
    prompt = prompt.removeprefix(bos) if bos else prompt  # llama.cpp writes it itself
    if '"""' in prompt or "{{" in prompt or prompt.count(ASKED) != 1:
        raise IikataError(
            f"--ollama: template {template.name} holds {{{{ or three quotes, or asks twice; leave it out."
        )
    ends = [tokenizer.token(id) for id in sorted(tokenize.stop_ids(template, tokenizer))]
    stops = "".join(f'PARAMETER stop "{stop}"\n' for stop in dict.fromkeys((*template.stop, *ends)) if '"' not in stop)
    return f'FROM ./{FILE}\nTEMPLATE """{prompt.replace(ASKED, "{{ .Prompt }}")}"""\n{stops}'
