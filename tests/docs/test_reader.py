"""What reads pages and types their commands finds the faults that it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Finished
from documented import ROOT, Block, Command, blocks_of, hidden_blocks
from markdown_links import anchors_of, links_of
from reader import Reader, agrees, masked

PAGE = """# Title of `a` page

<!-- not run: needs a
     network -->
```console
$ deltaoe extract ./images \\
    --model X     # a comment
Extracted 12 images
$ echo done
```

- <!-- file: list.csv -->

  ```text
  $ path
  ```

<!-- another remark -->
<!-- in: few -->

```bash
deltaoe status
# nothing
```

## Title of a page

[one](a.md#x) and `[none](b.md)` and [![two](c.svg "title")](d.md)
<!-- [none](e.md) --> <img src="f.png" alt="a drawn
picture"> <https://example.org>
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    return tmp_path / "page.md"


def test_blocks_and_what_stands_above_them(page: Path) -> None:
    console, text, shell = blocks_of(page)
    assert (console.line, console.not_run) == (6, "needs a network")
    assert console.commands() == [
        Command("deltaoe extract ./images --model X     # a comment", 6, ("Extracted 12 images",)),
        Command("echo done", 9),
    ]
    assert (text.not_run, text.looks_like_commands) == ("", True)
    assert (shell.folder, shell.commands()) == ("few", [Command("deltaoe status", 22)])


@pytest.mark.parametrize(
    "text",
    [
        "> ```console\n> $ deltaoe nope\n> ```",
        "- ```console\n  $ deltaoe nope\n  ```\n\n```text\n```",
        "\t```console\n\t$ deltaoe nope\n\t```",
        "    $ deltaoe nope",
        "> $ deltaoe nope",
    ],
)
def test_blocks_that_would_go_unseen(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.md").write_text(f"# Title\n\n{text}\n", encoding="utf-8")
    assert hidden_blocks(tmp_path / "page.md")[0] == 3


def test_a_block_that_does_not_end(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Title\n\n```console\n$ deltaoe nope\n", encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page.md:3: a block that does not end"):
        blocks_of(tmp_path / "page.md")


def test_links_and_anchors(page: Path) -> None:
    found = {(link.target, link.line, link.picture) for link in links_of(page)}
    assert found == {
        ("a.md#x", 28, False),
        ("d.md", 28, False),
        ("c.svg", 28, True),
        ("f.png", 29, True),
        ("https://example.org", 30, False),
    }
    assert anchors_of(page) == {"title-of-a-page", "title-of-a-page-1"}


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("Extracted 12 images", "Extracted 9,123 images", True),
        ("16-shots-843b0c5d9e21  1.5 s", "4-shots-0123456789ab 20 s", True),
        ("Extracted … of 3", "Extracted 5 images of 4", True),
        ("Extracted 12 images", "Extracted 12 images, 3 failed", False),
        ("Extracted 12 images", "Encoded 12 images", False),
    ],
)
def test_shown_and_printed(shown: str, printed: str, same: bool) -> None:
    assert agrees(masked(shown), masked(printed)) == same


@pytest.mark.parametrize(
    ("told", "shown", "problem"),
    [
        (Finished(0, "Scored 5\n", ""), ("Scored 7",), None),
        (Finished(0, "Scored 5\n", ""), ("Counted 5",), "is shown, but not printed"),
        (Finished(0, "", "warning: odd\n"), (), "is not told of on the page"),
        (Finished(0, "", "warning: odd\n"), ("warning: odd",), None),
        (Finished(2, "", "error: bad\n"), (), "exit code 2"),
        (Finished(2, "", "error: bad\n"), ("error: bad",), None),
        (Finished(0, "error: bad\n", ""), ("error: bad",), "exit code 0"),
    ],
)
def test_a_command_that_is_not_as_on_the_page(
    told: Finished, shown: tuple[str, ...], problem: str | None, tmp_path: Path
) -> None:
    typed = []

    def run(*words: str, **_: object) -> Finished:
        typed.append(words)
        return told

    reader = Reader(tmp_path, run, tmp_path)
    block = Block(ROOT / "README.md", "console", 1, "")
    command = Command("deltaoe score 'a b' --json  # as one object", 7, shown)
    if problem:
        with pytest.raises(AssertionError, match=r"(?s)README.md:7: deltaoe score.*" + problem):
            reader.type(block, command)
    else:
        reader.type(block, command)
    assert typed == [("score", "a b", "--json")]


def test_pipes_files_folders_and_shells(tmp_path: Path) -> None:
    typed = []

    def run(*words: str, **more: object) -> Finished:
        typed.append((words, more["stdin"], more["cwd"]))
        return Finished(0, "told\n", "")

    reader = Reader(tmp_path, run, tmp_path)
    block = Block(ROOT / "README.md", "console", 1, "")
    (tmp_path / "sub").mkdir()
    for text in (
        "cd sub",
        "printf 'a|b' | deltaoe extract - > answers.jsonl",
        "cat answers.jsonl && touch here",
        "echo $?",
    ):
        reader.type(block, Command(text, 1))
    assert typed == [(("extract", "-"), b"a|b", tmp_path / "sub")]
    assert (tmp_path / "sub" / "answers.jsonl").read_text(encoding="utf-8") == "told\n"
    assert (tmp_path / "sub" / "here").exists()
    for text in (
        "test -e nowhere",
        "test -e nowhere; echo said",
        "test -e nowhere | cat",
        "cat nowhere | cat | sort",
    ):
        with pytest.raises(AssertionError, match="exit code 1"):
            reader.type(block, Command(text, 1))
    with pytest.raises(AssertionError, match="returned non-zero exit status 1"):
        reader.type(block, Command("cat nowhere | cat | deltaoe extract -", 1))
