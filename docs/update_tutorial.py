"""Run the commands of docs/tutorial.md and write what they print into the page: ``python docs/update_tutorial.py``.

It needs the folder ``shared`` beside the repository, with photographs and a small CLIP. They are copied into a
temporary folder, and none of them comes into the repository.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from console_page import rewrite

PAGE = Path(__file__).parent / "tutorial.md"
SHARED = Path(__file__).resolve().parents[2] / "shared"
SET_UP: tuple[str, ...] = ()  # all commands are run
NEW = 4  # photographs of each class that are scored, not extracted
SCENES = ("bedroom", "coast", "forest", "kitchen")


def lay_out(folder: Path, shared: Path = SHARED) -> None:
    """Make the tutorial's folder: ``images/`` of seven classes, ``new/`` of these and others, ``photo-clip/``.

    Args:
        folder: a folder that is there and empty.
        shared: has ``data/photos`` and ``models/photo-clip``.
    """
    shutil.copytree(shared / "models" / "photo-clip", folder / "photo-clip", copy_function=shutil.copyfile)
    photos = shared / "data" / "photos"
    (folder / "new").mkdir()
    for source in sorted((photos / "pacs-mini" / "photo").iterdir()):
        mine = sorted(source.iterdir())
        (folder / "images" / source.name).mkdir(parents=True)
        for i, file in enumerate(mine):
            place = f"new/{source.name}" if i < NEW else f"images/{source.name}/{source.name}"
            shutil.copyfile(file, folder / f"{place}-{i:02d}.jpg")
    others = photos / "ood-mini"
    for file in sorted((others / "objects").iterdir())[::3]:  # caltech_<class>_image_<number>.jpg
        shutil.copyfile(file, folder / "new" / file.name.removeprefix("caltech_").replace("_image_", "-"))
    for file in sorted((others / "scenes").iterdir()):  # scene_<split>_<class>_image_<number>.jpg
        name = file.name.split("_", 2)[2]
        if name.startswith(SCENES):
            shutil.copyfile(file, folder / "new" / name.replace("_image_", "-"))


def main() -> None:
    """Lay out the folder, run the tutorial, and write the page."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "photos")
        folder.mkdir()
        lay_out(folder)
        rewrite(PAGE, folder, SET_UP)


if __name__ == "__main__":
    main()
