"""What pyproject.toml cannot say: the package index's description, and a source distribution that builds the same."""

from __future__ import annotations

import gzip
import os
import re
import tarfile
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
_TARGET = r"(?!https?:|mailto:|#)[^)\s]+"  # of a link into the repository
_ELSEWHERE = "\n\nPages that this text names without a link are in `docs/` of the source distribution.\n"


def index_description(readme: str) -> str:
    """The README without its links into the repository and pictures in it, of which a package index has neither.

    The repository has no public address that they could be made absolute with: a link becomes its text, a picture
    goes. Links within the page and to other sites stay. What stands between the comments ``here alone`` and ``end of
    here alone`` goes with them: what is said of a picture, a list of pages. So do all other comments.

    Args:
        readme: Markdown.
    """
    text = re.sub(
        r"<!-- here alone -->.*?<!-- end of here alone -->|<!--.*?-->\n?", "", readme, flags=re.DOTALL
    )
    text = re.sub(rf"!\[[^\]]*\]\({_TARGET}\)", "", text)
    text = re.sub(r"<picture>.*?</picture>|<img\s(?![^>]*src=\"https?:)[^>]*>", "", text, flags=re.DOTALL)
    # A link's text may have code with brackets in it, `deltaoe[ray]`, and a picture, which has gone.
    text = re.sub(rf"\[((?:`[^`]*`|[^\[\]`])*)\]\({_TARGET}\)", r"\1", text)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + _ELSEWHERE


class ReproducibleSdist(sdist):  # type: ignore[misc]
    """A source distribution of the same bytes for the same files, if SOURCE_DATE_EPOCH gives the time of them all."""

    def make_archive(self, base_name: Any, format: str, *args: Any, **kwargs: Any) -> str:  # noqa: A002
        """Put the folder ``base_dir`` into an archive; its path."""
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar":
            made: str = super().make_archive(base_name, format, *args, **kwargs)
            return made
        folder, path = Path(kwargs["base_dir"]), Path(f"{base_name}.tar.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            path.open("wb") as out,
            gzip.GzipFile("", "wb", mtime=int(epoch), fileobj=out) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for file in sorted((file for file in folder.rglob("*") if file.is_file()), key=Path.as_posix):
                entry = tar.gettarinfo(file, file.as_posix())
                entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = int(epoch), 0, 0, "", ""
                entry.mode = 0o755 if entry.mode & 0o100 else 0o644
                entry.type, entry.linkname = (
                    tarfile.REGTYPE,
                    "",
                )  # no hard link is one between files of the archive
                with file.open("rb") as content:
                    tar.addfile(entry, content)
        return str(path)


if __name__ == "__main__":
    setup(
        cmdclass={"sdist": ReproducibleSdist},
        long_description=index_description((ROOT / "README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
