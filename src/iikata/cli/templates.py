"""`iikata templates`: what templates there are, what one of them writes, and the same in another form."""

import argparse
from dataclasses import replace
from pathlib import Path

from iikata.core.errors import IikataError
from iikata.core.io import write_text
from iikata.templates import TEMPLATES, AlpacaTemplate, JinjaTemplate, Template, chat_template, load, saved, to_alpaca

STAND_INS = {f"{name}_token": f"[{name}_token]" for name in ("bos", "eos", "unk", "pad", "sep", "cls", "mask")}
"""What `show` writes for special tokens, which only a tokenizer knows."""


def templates(given: argparse.Namespace) -> None:
    """List the built-in templates, show one, or convert one."""
    if given.action == "list":
        for name, template in TEMPLATES.items():
            first = template.render("...").prompt.replace("\n", "⏎")
            print(f"{name:16} {first[:90]}")
        print(f"{'native':16} the model's own chat template")
        return
    if not given.template:
        raise IikataError(f"templates {given.action} needs a template: a built-in name or a file.")
    if given.template == "native":
        raise IikataError(
            'template "native" is the chat template of the experiment\'s own model, and no model is named here. '
            "To see it: iikata encode EXP; the file is chat_template.jinja beside an adapter trained on it."
        )
    template = load(given.template, Path())
    if given.action == "show":
        show(template)
    elif given.dest is None:
        raise IikataError("templates convert needs where to write: DEST.json (Alpaca) or DEST.jinja (chat template).")
    else:
        convert(template, Path(given.dest))


def show(template: Template) -> None:
    """Print what the template writes, once it has written all of it."""
    lines = [f"name: {template.name}\nhash: {template.hash}\nnewline: {template.newline!r}"]
    if isinstance(template, JinjaTemplate) and template.special_tokens is None:
        template = template.with_special_tokens(STAND_INS)
    for title, input in (("without an input", ""), ("with an input", "{input}")):
        rendered = template.render("{instruction}", input, "{output}")
        lines.append(f"\n--- {title}\n{rendered.prompt}{rendered.completion}{rendered.end or '[end token]'}")
    print("\n".join(lines))


def convert(template: Template, dest: Path) -> None:
    """Write the template to `dest`: Alpaca JSON or a Jinja chat template, by its ending; refused where not exact."""
    if dest.exists():
        raise IikataError(f"{dest} is there already and is not overwritten. Name another, or remove it first.")
    if dest.suffix == ".json":
        alpaca = template if isinstance(template, AlpacaTemplate) else None
        alpaca = alpaca or to_alpaca(template)  # type: ignore[arg-type]
        text = saved(replace(alpaca, name=dest.stem))
    elif dest.suffix in (".jinja", ".jinja2", ".j2"):
        if template.stop:
            raise IikataError(
                f'template "{template.name}" stops at {list(template.stop)}, and a Jinja file has no word for it.'
            )
        text = chat_template(template)
    else:
        raise IikataError(f"{dest}: write to a name that ends in .json (Alpaca) or .jinja (chat template).")
    write_text(dest, text)
    print(dest)
