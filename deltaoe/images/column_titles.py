"""Titles that columns have in the tables of people and programs, in lower case, letters and digits alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deltaoe.images.splits import Split


def title_word(cell: str) -> str:
    """A title without case, blanks and signs.

    Example:
        >>> title_word(" Class_Name ")
        'classname'
    """
    return re.sub(r"[\W_]+", "", cell).casefold()


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(" ".join(lines).split())


# Where several are there, the first is taken.
PATHS = _words(
    "path file filename filepath image imagepath imagefile imagefilename imgpath imgfile imgname img imagename images",
    "img1 picture photo pic fname filenames files paths relpath relativepath relativefilepath fullpath abspath src uri",
    "fullfilename jpg png fn imageid imgid imagefileid photoid pictureid id key uid uuid",
)
URLS = _words("imageurl imgurl url urls link href uri src")
CLASSES = _words(
    "class classname label labelname classes classlabel labels labeltext labelstr category categoryname categories",
    "target targetname y ytrue truelabel trueclass groundtruth gt gtlabel groundtruthlabel truth klass cls clsname",
    "concept species speciesname commonname breed breedname variety diagnosis dx disease emotion expression",
    "objectclass objectname",
)
CLASS_NUMBERS = _words(
    "classid classindex classidx classno labelid labelindex labelidx labelcode categoryid targetid targetindex",
    "encodedlabel labelencoded",
)
RANKS = frozenset(_words("kingdom phylum class order family genus species"))
DOMAINS = _words("domain domains domainname")
SPLITS = _words(
    "split splits subset set partition fold phase usage datasplit traintest trainvaltest traintestsplit dataset"
)
# Of columns with true and false: the split that each means.
SPLIT_FLAGS: dict[str, tuple[Split, Split]] = {
    **dict.fromkeys(_words("isvalid isval isvalidation isdev"), ("val", "train")),
    **dict.fromkeys(_words("istest istesting istestimage"), ("test", "train")),
    **dict.fromkeys(_words("istrain istraining istrainingimage"), ("train", "test")),
}
# Text that names no class.
OTHERS = frozenset(
    _words(
        "url link href imageurl md5 sha1 sha256 hash checksum license licence author photographer owner user",
        "rightsholder date time timestamp datetime caption captions description comment comments note notes remark",
        "remarks title width height depth size channels format mode bbox box polygon segmentation mask maskpath",
        "address location camera device sex gender verified",
    )
)
YES = frozenset(_words("true yes t y 1 1.0"))
NO = frozenset(_words("false no f n 0 0.0"))
# Of files of names: what stands for a folder, the name of a class, and the number of one.
FOLDERS = _words(
    "folder foldername dir directory path id wnid wordnetid synset synsetid code classid classcode key class label",
    "name old from original source",
)
SURE_FOLDERS = 4  # of these, the first mean nothing else
NAMES = _words(
    "name classname names prompt words word text description title new to target label labelname class caption",
    "displayname english synonyms lemma lemmas",
)
NUMBERS = frozenset(_words("index idx number no nr"))


def known_titles(cells: Iterable[str]) -> int:
    """Number of cells that are titles of a list of images with a known meaning."""
    known = {*PATHS, *CLASSES, *CLASS_NUMBERS, *DOMAINS, *SPLITS}
    return sum(title_word(cell) in known for cell in cells)
