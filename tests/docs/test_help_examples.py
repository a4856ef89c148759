"""The examples in the commands' help, which are the reference's, too: those that no page runs are typed here."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import page_folders
import pytest
from command import Run
from documented import ROOT, SHELLS, Block, Command, blocks_of, pages
from reader import SHORT, Reader

PAGE = ROOT / "docs" / "reference" / "cli.md"
# A part of the line, and why it is not run here.
NOT_RUN = {
    "--device cuda": "needs a GPU",
    "--cluster": "docs/how-to/cluster.md",
    "s3://": "needs a network; tests/cli/test_packed_command.py has a server of its own",
    "--watch": "runs until Ctrl-C; tests/cli/test_stream_command.py",
    "deltaoe undo": "the name is that of one run; tests/cli/test_filing_command.py",
    "--protocol pacs-lodo": "needs PACS; tests/cli/test_protocols.py",
    "deltaoe demo": "tests/cli/test_demo.py",
    "deltaoe discover": "docs/how-to/discover.md",
    "deltaoe export-onnx": "tests/lite/test_export_onnx.py",
    "deltaoe evaluate --id ./images": "docs/how-to/evaluate.md",
    " data:": "imported features; docs/how-to/features.md",
    "--domain": "tests/cli/test_tune.py",
    "--fail-on-unknown": "tests/cli/test_score.py",
    "--method coop": "docs/how-to/theory.md",
    "pip install": "needs a network",
}
# Typed in this order: each finds what those before it have left.
EXAMPLES = [
    Command(re.sub(r"   \(.*\)$", "", text), PAGE.read_text(encoding="utf-8")[:start].count("\n") + 1)
    for start, text in (
        (found.start(), found[1])
        for found in re.finditer(
            r"^ (deltaoe [a-z].*|pip .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
        )
    )
]


def run_on_pages() -> set[str]:
    """The commands that the pages' own tests type, without their remarks."""
    return {
        re.sub(r"\s+#.*", "", command.text)
        for page in pages()
        for block in blocks_of(page)
        if block.language in SHELLS and not block.not_run
        for command in block.commands()
    }


def prepare(folder: Path, pictures: Path, run: Run) -> None:
    """All that the examples name; ``images`` was extracted last."""
    page_folders.make_folder(folder, pictures)
    page_folders.many_labels(folder, folder)
    rng = np.random.default_rng(4)
    features = rng.normal(size=(90, 16))
    classes = {"labels": np.repeat([0, 1, 2], 30), "class_names": ["cat", "dog", "horse"]}
    np.savez(folder / "caltech.npz", features=features, **classes)
    np.save(folder / "img_emb.npy", features)
    (folder / "paths.txt").write_text("".join(f"{i}.jpg\n" for i in range(90)), encoding="utf-8")
    more = folder / "more"
    more.mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(folder / "photo.jpg", folder / name)
        shutil.copy(folder / "photo.jpg", more / name)
    rows = [f"{file.relative_to(folder)},{file.parent.name}\n" for file in (folder / "images").rglob("*.png")]
    (folder / "images.csv").write_text("path,class\n" + "".join(rows), encoding="utf-8")
    run("extract", "./images", cwd=folder)
    run("tune", "--shots", "16", "--name", "16-shots-843b", cwd=folder, env=SHORT)


@pytest.mark.slow
def test_examples_of_the_help(tmp_path: Path, pictures: Path, run: Run, tiny_model: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    prepare(folder, pictures, run)
    reader = Reader(folder, run, tiny_model, {"DELTAOE_QUIET": "1"})
    typed, elsewhere, block = 0, run_on_pages(), Block(PAGE, "console", 1, "")
    for example in {one.text: one for one in EXAMPLES}.values():
        if example.text not in elsewhere and not any(part in example.text for part in NOT_RUN):
            (folder / "scores.csv").unlink(missing_ok=True)
            reader.type(block, example)
            typed += 1
    assert typed > 15
