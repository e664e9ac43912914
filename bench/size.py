"""Count the lines of src, tests and their rooms: all, and those of code (no blank lines, comments, docstrings)."""

import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
IDLE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
    *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
}


def code_lines(text: str) -> int:
    """Return how many lines hold code."""
    texts = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
    docs = [node for node in texts if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    spoken = {line for node in docs for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    used = {line for t in tokens if t.type not in IDLE for line in range(t.start[0], t.end[0] + 1)}
    return len(used - spoken)


def main() -> None:
    for top in ("src", "tests"):
        texts = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / top).rglob("*.py"))}
        lines = {path: text.count("\n") for path, text in texts.items()}
        code = sum(map(code_lines, texts.values()))
        print(f"{top}: {sum(lines.values()):,} lines in {len(lines)} files, {code:,} of code")
        for path in sorted(lines, key=lambda path: -lines[path])[:3]:
            print(f"  {lines[path]:4d} {path.relative_to(ROOT)}")
        rooms: Counter[str] = Counter()
        for path, count in lines.items():
            below = path.relative_to(ROOT / top).parts
            rooms[below[top == "src"].removesuffix(".py") if len(below) > 1 else "."] += count
        print("  " + ", ".join(f"{room} {count:,}" for room, count in rooms.most_common()))


if __name__ == "__main__":
    main()
