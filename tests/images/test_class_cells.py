"""Cells of lists that name several classes or none, columns of zeros and ones, and lists beside their images."""

from __future__ import annotations

from pathlib import Path

import pytest

from deltaoe.errors import DataError
from deltaoe.images.class_cells import settled
from deltaoe.images.inputs import find_files
from deltaoe.images.lists import Listed, read_list


def table(header: str, *rows: str) -> Listed:
    return read_list("list.csv", "\n".join([header, *rows]).encode("utf-8", "surrogateescape"), ".csv")


@pytest.mark.parametrize(
    ("cells", "several"),
    [
        (["cat", "dog", "cat|dog"], ["cat|dog"]),
        (["Hernia", "Mass; Nodule", "Mass; Edema"], ["Mass; Nodule", "Mass; Edema"]),
        (["cat; tabby", "dog"], []),
        (["['cat', 'dog']", "['cat']"], ["['cat', 'dog']"]),
        (["{cat,dog}", "cat"], ["{cat,dog}"]),
        (["cat", "dog", "dog, cat"], ["dog, cat"]),
        (["cat", "dog", "cat + dog"], ["cat + dog"]),
        (["tench, Tinca tinca", "great white shark, white shark"], []),
        (["Black & white", "AC/DC", "C++", "(other)", "|", ";-)"], []),
    ],
)
def test_cells_of_several_classes(cells, several):
    found, notes = settled("list.csv", cells)
    assert found == ["" if cell in several else cell for cell in cells]
    assert bool(notes) == bool(several)
    assert all(cell in notes[0] for cell in several)


def test_parts_that_may_be_classes_are_named():
    found, notes = settled("list.csv", ["ice", "cream", "ice cream", "cat", "cat,dog"])
    assert found == ["ice", "cream", "ice cream", "cat", "cat,dog"]
    assert notes == [
        "list.csv: classes of their own, though parts of them are classes, too: cat,dog, ice cream"
    ]


def test_words_for_an_empty_cell():
    found = table("path,class", "a.jpg,nan", "b.jpg,N/A", "c.jpg,None", "d.jpg,cat", "e.jpg,")
    assert found.classes == ["", "", "None", "cat", ""]
    assert found.notes == ["list.csv: 2 images have no class, by the word for an empty cell (N/A, nan)"]


def test_classes_in_another_encoding_are_refused():
    with pytest.raises(DataError, match="not UTF-8 text: a class named 'Käse'"):
        table("path,class", b"a.jpg,K\xe4se".decode("utf-8", "surrogateescape"))
    # Names of files may be any bytes.
    assert table("path,class", b"\xe4.jpg,cat".decode("utf-8", "surrogateescape")).classes == ["cat"]


def test_classes_in_most_columns_of_zeros_and_ones():
    found = table("image,male,MEL,NV,BCC", "a.jpg,1,1,0,0", "b.jpg,1,0,1,0", "c.jpg,0,0,0,1")
    assert found.classes == ["MEL", "NV", "BCC"]
    assert "not used: male" in found.assumed[0]
    found = table("image,cat,dog", "a.jpg,1,1", "b.jpg,1,0")
    assert found.classes is None
    assert "cat, dog are none, for not every row has one 1" in found.assumed[0]


def test_text_beside_columns_of_zeros_and_ones_is_asked_about():
    with pytest.raises(DataError, match=r"several columns could be the classes: View .*; Hernia .*; Mass"):
        table("Path,View,Hernia,Mass", "a.jpg,front,1,1", "b.jpg,side,0,0")


@pytest.mark.parametrize(
    ("title", "values", "splits"),
    [
        ("is_valid", ("True", "False"), ["val", "train"]),
        ("is_test", ("1", "0"), ["test", "train"]),
        ("is_training_image", ("1", "0"), ["train", "test"]),
        ("is_train", ("yes", "no"), ["train", "test"]),
    ],
)
def test_columns_of_true_and_false_may_say_the_split(title, values, splits):
    found = table(f"path,class,{title}", *(f"{i}.jpg,cat,{value}" for i, value in enumerate(values)))
    assert found.splits == splits
    assert f"splits from {title!r} (" in found.assumed[0]
    odd = table(f"path,class,{title}", "a.jpg,cat,0", "b.jpg,cat,7")
    assert odd.splits is None
    assert f"not used: {title}" in odd.assumed[0]


def test_two_columns_of_one_title():
    assert table("path,label,label", "a.jpg,cat,cat", "b.jpg,dog,dog").classes == ["cat", "dog"]
    with pytest.raises(DataError, match="several columns") as caught:
        table("path,label,label", "a.jpg,cat,dog", "b.jpg,dog,dog")
    assert "--label-column 2" in caught.value.hint


@pytest.mark.parametrize("where", ["meta", "."])
@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_paths_relative_to_a_folder_below_or_beside_the_list(tmp_path: Path, where: str, suffix: str) -> None:
    for name in ("pie/1.jpg", "pie/2.jpg", "soup/1.jpg", "tomato-soup/1.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    (tmp_path / where).mkdir(exist_ok=True)
    written = tmp_path / where / "train.txt"
    written.write_text(f"pie/1{suffix}\nsoup/1{suffix}\nbread/1{suffix}\n")
    files = find_files([str(written)])
    found = {
        Path(files.path(i)).relative_to(tmp_path).as_posix() for i in range(3) if i not in files.problems
    }
    assert found == {"images/pie/1.jpg", "images/soup/1.jpg"}
    assert any("2 files were found in folders be" in note for note in files.notes)
