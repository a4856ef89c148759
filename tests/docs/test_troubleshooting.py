"""The messages that the page on troubleshooting quotes are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "troubleshooting.md"
# Said by Python, Pillow, HDF5 or the operating system, or with a value between all words.
ELSEWHERE = {
    "init_sys_streams",
    "image file is truncated",
    "file name too long",
    "no locks available",
    "stale file handle",
    "too many open files",
    "UTF-8 text",
    "--failed lists all",
}


def sentences() -> str:
    """Every text in the code but docstrings, f-strings with a blank for each value, one per line."""
    found = []
    for path in [*(ROOT / "deltaoe").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if id(node) in docstrings:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [str(one.value) if isinstance(one, ast.Constant) else " " for one in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(" ".join(one.split()) for one in found)


def quoted() -> list[str]:
    """The messages in the headings of the page's entries."""
    text = PAGE.read_text(encoding="utf-8")
    heads = re.findall(r"^(\*\*.+?\*\*)\\$", text, re.MULTILINE | re.DOTALL)
    return [" ".join(one.split()) for head in heads for one in re.findall(r"`([^`]+)`", head)]


def test_quoted_messages_are_in_the_code() -> None:
    known, messages = sentences(), quoted()
    assert len(messages) > 60
    for message in messages:
        # Names, numbers and plurals in a message are not in the code; at least a quarter of it is.
        parts = [part.split() for part in re.split(r"[^A-Za-z -]+", message)]
        triples = [" ".join(part[i : i + 3]) for part in parts for i in range(len(part) - 2)]
        found = sum(triple in known for triple in triples)
        assert 4 * found >= len(triples) or any(words in message for words in ELSEWHERE), message
