"""The page of the docs that is made of the notebook-like example: ``python -m tests.notebook_page`` writes it."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE, PAGE = ROOT / "examples" / "notebook.py", ROOT / "docs" / "notebook.md"


def cells(text):
    """Return the cells of a script in percent format: whether each is Markdown, and its text."""
    parts = re.split(r"^# %%(.*)\n", text, flags=re.MULTILINE)
    return [("markdown" in kind, body.strip()) for kind, body in zip(parts[1::2], parts[2::2], strict=True)]


def page_of(text):
    """Return the page: Markdown as it is, code in blocks."""
    told = []
    for is_markdown, body in cells(text):
        lines = [line.removeprefix("#").removeprefix(" ") for line in body.splitlines()]
        told.append("\n".join(lines) if is_markdown else f"```python\n{body}\n```")
    return "\n\n".join(told) + "\n"


def run(text, names):
    """Run all cells and return the value of each code cell's last line, None where that is no expression."""
    values = []
    for is_markdown, body in cells(text):
        if is_markdown:
            continue
        tree = ast.parse(body)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, EXAMPLE.name, "exec"), names)  # noqa: S102 - our own example
        values.append(None if last is None else eval(compile(ast.Expression(last.value), EXAMPLE.name, "eval"), names))  # noqa: S307
    return values


if __name__ == "__main__":
    PAGE.write_text(page_of(EXAMPLE.read_text(encoding="utf-8")), encoding="utf-8")
