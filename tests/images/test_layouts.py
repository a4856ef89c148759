"""Layouts: which level of folders says the class, the domain and the split, whatever the order and what lies around."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaoe.errors import ConfigError
from deltaoe.images.folder_names import kind_of
from deltaoe.images.labels import Labelling, label_paths
from deltaoe.images.layout import check_layout
from deltaoe.images.layout_detection import above_classes, detect_layout, places
from deltaoe.images.splits import canonical_split, is_outside_splits


def paths(*folders: str, count: int = 3) -> list[str]:
    return [f"{folder}/{i}.png" if folder else f"{i}.png" for folder in folders for i in range(count)]


def said(labelling: Labelling) -> list[tuple[str | None, str | None, str | None]]:
    """Class, domain and split of each image."""
    columns = (
        (labelling.class_of, labelling.class_names),
        (labelling.domain_of, labelling.domain_names),
        (labelling.split_of, labelling.split_names),
    )
    return list(
        zip(*([names[i] if i >= 0 else None for i in of.tolist()] for of, names in columns), strict=True)
    )


# Trees of all kinds


@dataclass
class Tree:
    """Paths of images, each with its class, domain and split; strays have none of these."""

    labels: dict[str, tuple[str | None, str | None, str | None]] = field(default_factory=dict)


CLASSES = ("dog", "guitar", "train station", "n02099601", "7", "Zebra", "crème brûlée")
DOMAINS = ("sketch", "photo", "art painting", "night", "2019", "clipart")
NAMES = {
    "train": (
        "train",
        "Training",
        "training_set",
        "TRAIN",
        "train2017",
        "train_images",
        "seg_train",
        "trainset",
        "tr",
    ),
    "val": ("val", "valid", "Validation", "dev", "val-set"),
    "test": ("test", "Testing", "test_set", "test2017", "TestImages", "imgtest", "holdout"),
}


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Classes × domains × splits in one of the usual orders, with containers, a wrapper and a stray file."""
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    domains = (
        draw(st.lists(st.sampled_from(DOMAINS), min_size=2, max_size=3, unique=True))
        if draw(st.booleans())
        else []
    )
    splits: dict[str, str] = {}
    if draw(st.booleans()):
        kinds = draw(st.lists(st.sampled_from(sorted(NAMES)), min_size=2, max_size=3, unique=True))
        splits = {draw(st.sampled_from(NAMES[kind])): kind for kind in kinds}
    orders = [
        order
        for order in itertools.permutations(
            ("class", *(["domain"] if domains else []), *(["split"] if splits else []))
        )
        if not domains or order.index("domain") < order.index("class")
    ]
    order = draw(st.sampled_from(orders))
    container = draw(st.sampled_from(["", "images", "imgs", "JPEGImages", "data"]))
    where = draw(st.integers(0, len(order)))
    wrapper = draw(st.sampled_from(["", "", "my-pets-v2", "my-pets-v2/release", "a/my-pets-v2/release"]))
    each = draw(st.integers(2, 3))
    tree = Tree()
    for name, domain, split in itertools.product(classes, domains or [None], splits or [None]):
        values = {"class": name, "domain": domain, "split": split}
        levels = [values[level] for level in order]
        if container:
            levels.insert(where, container)
        folder = "/".join(([wrapper] if wrapper else []) + [level for level in levels if level])
        for number in range(each):
            tree.labels[f"{folder}/{number}.jpg"] = (
                " ".join(name.replace("_", " ").split()),
                domain,
                splits.get(split or ""),
            )
    if draw(st.booleans()):
        some = draw(st.sampled_from(sorted(tree.labels)))
        parts = some.split("/")[:-1]
        around = wrapper.count("/") + 1 if wrapper else 0
        last = next(i for i, one in enumerate(parts) if one in classes and i >= around)
        folder = "/".join(parts[: draw(st.integers(0, last))])
        tree.labels[f"{folder}/cover.jpg" if folder else "cover.jpg"] = (None, None, None)
    return tree


@given(trees(), st.randoms(use_true_random=False))
def test_every_image_has_its_class_domain_and_split(tree, shuffler):
    files = list(tree.labels)
    shuffler.shuffle(files)
    found = label_paths(files)
    for path, labels in zip(files, said(found), strict=True):
        if path.endswith("cover.jpg"):
            assert labels[:2] == (None, None), (found.layout, path)
        else:
            assert labels == tree.labels[path], (found.layout, path)
    # What was recognised can be named, with the same result.
    check_layout(found.layout)
    assert said(label_paths(files, found.layout)) == said(found)


@given(st.lists(st.text("ab1/.", min_size=1, max_size=8), max_size=12))
def test_any_paths_have_a_layout(found):
    layout = detect_layout(found)
    check_layout(layout)
    assert len(label_paths(found, layout).class_of) == len(found)


# The usual ones


@pytest.mark.parametrize(
    ("found", "layout", "classes", "splits"),
    [
        (paths("train/dog", "train/cow", "test"), "split/class", ("cow", "dog"), ("train", "test")),
        (
            [
                *paths("training_set/dog", "training_set/cow", "test_set/dog", "test_set/cow"),
                "single_prediction/1.png",
            ],
            "split/class",
            ("cow", "dog"),
            ("train", "test"),
        ),
        (paths("train/dog", "train/cow", "val/dog"), "split/class", ("cow", "dog"), ("train", "val")),
        (paths("train/dog", "train/cow"), "split/class", ("cow", "dog"), ("train",)),
        (paths("dog/train", "dog/test", "cow/train"), "class/split", ("cow", "dog"), ("train", "test")),
        (paths("images/train", "images/val"), "split", (), ("train", "val")),
        (paths("train/images", "valid/images", "test/images"), "split", (), ("train", "val", "test")),
        (paths("train", "test"), "split", (), ("train", "test")),
        # Tiny ImageNet: a container in every class, and in the splits without classes
        (
            paths("train/n1/images", "train/n2/images", "val/images", "test/images"),
            "split/class",
            ("n1", "n2"),
            ("train", "val", "test"),
        ),
        (paths("n1/images", "n2/images"), "class", ("n1", "n2"), ()),
        # ImageNet: folders around, and a split without classes
        (
            paths("ILSVRC/Data/CLS-LOC/train/n1", "ILSVRC/Data/CLS-LOC/train/n2", "ILSVRC/Data/CLS-LOC/val"),
            "*/*/split/class",
            ("n1", "n2"),
            ("train", "val"),
        ),
        # An archive that unpacks into a folder of its own name
        (
            paths(
                "seg_train/seg_train/sea",
                "seg_train/seg_train/street",
                "seg_test/seg_test/sea",
                "seg_pred/seg_pred",
            ),
            "split/class",
            ("sea", "street"),
            ("train", "test"),
        ),
        # Names of splits that are classes here
        (paths("car", "bus", "train", "plane"), "class", ("bus", "car", "plane", "train"), ()),
        (paths("valid", "invalid"), "class", ("invalid", "valid"), ()),
        (paths("test", "control"), "class", ("control", "test"), ()),
        ([*paths("dog", "cow", count=40), "dog/test/1.png"], "class", ("cow", "dog"), ()),
        # Dates
        (paths("dog/2023", "dog/2024", "cow/2023"), "class", ("cow", "dog"), ()),
        (paths("dog/2023/07", "cow/2023/08"), "class", ("cow", "dog"), ()),
        (paths("2023/dog", "2024/cow"), "domain/class", ("cow", "dog"), ()),
        (paths("2023/07/dog", "2023/08/cow"), "domain/*/class", ("cow", "dog"), ()),
        (paths("2023-07-14", "2023-07-15"), "class", ("2023-07-14", "2023-07-15"), ()),
        # Splits by names that differ in the split, and in other languages
        (paths("cars_train", "cars_test"), "split", (), ("train", "test")),
        (paths("ISIC_Task3_Training_Input", "ISIC_Task3_Test_Input"), "split", (), ("train", "test")),
        (
            paths("asl_train/asl_train/a", "asl_train/asl_train/b", "asl_test/asl_test"),
            "split/class",
            ("a", "b"),
            ("train", "test"),
        ),
        (paths("训练集/犬", "测试集/犬", "训练集/馬"), "split/class", ("犬", "馬"), ("train", "test")),
        (paths("Entraînement/cow", "Prüfung/cow"), "split/class", ("cow",), ("train", "test")),
        (
            paths("freight train", "bullet train", "crash test"),
            "class",
            ("bullet train", "crash test", "freight train"),
            (),
        ),
        # One folder around splits is no class, and a class may have no splits
        (paths("cats-vs-dogs/train", "cats-vs-dogs/test"), "*/split", (), ("train", "test")),
        (paths("a/b/train", "a/b/test"), "*/*/split", (), ("train", "test")),
        (
            [*paths("dog/train", "dog/test", "cow", count=2), "cover.png"],
            "class/split",
            ("cow", "dog"),
            ("train", "test"),
        ),
        (paths("car", "bus", "train", "test"), "class", ("bus", "car", "test", "train"), ()),
        # Annotations beside images
        (paths("sick/images", "sick/masks", "well/images", "well/masks"), "class", ("sick", "well"), ()),
        (paths("images", "annotations/trimaps"), "flat", (), ()),
        (paths("images/cow", "images/dog", "masks/cow", "masks/dog"), "class", ("cow", "dog"), ()),
        (paths("train/cow", "train_masks/cow", "test/cow"), "split/class", ("cow",), ("train", "test")),
        # Parts of classes, unless they are counted from zero, as programs name classes
        (paths("dog/1", "dog/2", "cow/1", "cow/2"), "class", ("cow", "dog"), ()),
        (paths("dog/clip_01", "dog/clip_02", "cow/clip_01", "cow/clip_02"), "class", ("cow", "dog"), ()),
        (paths("mnist/0", "mnist/1", "svhn/0", "svhn/1"), "domain/class", ("0", "1"), ()),
        (paths("cam1/cow", "cam1/dog", "cam2/cow", "cam2/dog"), "domain/class", ("cow", "dog"), ()),
        (
            paths("noise/1/cow", "noise/2/dog", "blur/1/cow", "blur/2/dog"),
            "domain/*/class",
            ("cow", "dog"),
            (),
        ),
        (
            paths("ink/tx_000/cow", "ink/tx_000/dog", "oil/tx_000/cow", "oil/tx_000/dog"),
            "domain/*/class",
            ("cow", "dog"),
            (),
        ),
        (
            paths("ink/n02084071", "ink/n02374451", "oil/n02084071", "oil/n02374451"),
            "domain/class",
            ("n02084071", "n02374451"),
            (),
        ),
        # All speak of splits, and one is sure
        (paths("train/cow", "test_a/cow", "test_b/dog"), "split/class", ("cow", "dog"), ("train", "test")),
        (paths("train", "train_masks", "test"), "split", (), ("train", "test")),
        # The same classes again, in a folder beside them
        (paths("cow", "dog", "test/cow", "test/dog"), "class", ("cow", "dog"), ()),
        (paths("pets/cow", "pets/dog", "pets/pets/cow", "pets/pets/dog"), "*/class", ("cow", "dog"), ()),
        # An index of letters
        (
            paths("a/abbey", "a/alley", "b/bridge", "c/church/indoor"),
            "*/class",
            ("abbey", "alley", "bridge", "church"),
            (),
        ),
    ],
)
def test_usual_layouts(found, layout, classes, splits):
    random.Random(0).shuffle(found)
    labelling = label_paths(found)
    assert (labelling.layout, labelling.class_names, labelling.split_names) == (layout, classes, splits)


def test_a_stray_file_changes_no_layout():
    tree = paths("photo/dog", "photo/cow", "sketch/dog", "sketch/cow")
    for stray in ("cover.png", "photo/cover.png", "sketch/cover.png", "misc/1.png"):
        found = label_paths([*tree, stray])
        assert (found.layout, found.class_names) == ("domain/class", ("cow", "dog"))
        assert found.class_of[-1] == -1


def test_images_of_no_split_have_none():
    found = label_paths([*paths("dog/train", "dog/test", "cow/train"), "cow/1.png"])
    assert said(found)[-1] == ("cow", None, None)
    found = label_paths([*paths("train/dog", "train/cow", "test/dog"), "extra/dog/1.png"])
    assert said(found)[-1] == (None, None, None)


def test_containers_may_be_classes_and_domains():
    assert label_paths(paths("images", "drawings")).class_names == ("drawings", "images")
    found = label_paths(
        paths(
            "train/photos/dog",
            "train/photos/cow",
            "train/sketches/dog",
            "train/sketches/cow",
            "test/photos/dog",
        )
    )
    assert (found.layout, found.domain_names) == ("split/domain/class", ("photos", "sketches"))


# Layouts that are named


@pytest.mark.parametrize(
    "layout", ["tree", "", "class/class", "domain", "*", "class/flat", "class//split", "train/class"]
)
def test_words_that_are_no_layout(layout):
    with pytest.raises(ConfigError) as caught:
        check_layout(layout)
    assert "'domain/class'" in caught.value.hint


def test_a_named_layout_counts_containers_where_it_must():
    assert label_paths(paths("images/cow", "images/dog"), "domain/class").domain_names == ("images",)
    assert label_paths(paths("images/cow", "images/dog"), "class").class_names == ("cow", "dog")
    assert label_paths(paths("cow/2023", "dog/2023"), "*/class").class_names == ("2023",)
    assert places(["test/images", "train/cow"], "split/class")["test/images"] == (None, None, "test")


@pytest.mark.parametrize(
    ("folders", "layout", "above"),
    [
        (["cow", "dog"], "class", ""),
        (["ink/cow", "wash/cow"], "domain/class", "ink"),
        (["test/cow", "train/cow"], "split/class", "train"),
        (["pets/images/cow"], "*/class", "pets/images"),
        (["cow/train"], "class/split", ""),
        ([], "flat", ""),
    ],
)
def test_where_class_folders_lie(folders, layout, above):
    assert above_classes(folders, layout) == above


# Names


@pytest.mark.parametrize("split", sorted(NAMES))
def test_names_of_splits(split):
    for name in NAMES[split]:
        for spelled in (name, name.upper(), f" {name} ", name.replace("_", "-"), f"{name}_3"):
            assert canonical_split(spelled) == split, spelled


@pytest.mark.parametrize(
    "name",
    [
        "",
        "dog",
        "images",
        "trainers",
        "train station",
        "test tube",
        "valley",
        "7",
        "traintest",
        "single_prediction",
    ],
)
def test_names_of_no_split(name):
    assert canonical_split(name) is None


def test_names_beside_splits():
    assert all(
        map(is_outside_splits, ("single_prediction", "seg_pred", "unlabeled2017", "Predictions", "extra"))
    )
    assert not any(map(is_outside_splits, ("single", "dog", "images", "", "train")))


@given(st.dates())
def test_dates_are_known_in_all_spellings(day):
    if 1900 <= day.year < 2100:
        for spelled in ("%Y", "%Y-%m", "%Y-%m-%d", "%Y%m%d", "%Y_%m_%d", "%d.%m.%Y"):
            assert kind_of(day.strftime(spelled)) == "dates"
