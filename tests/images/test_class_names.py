"""Class names that CLIP cannot read: WordNet ids in words, names that are no words, names that look the same."""

from __future__ import annotations

import random
import re
import string
import unicodedata
import uuid
from datetime import date

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deltaoe.images import class_names
from deltaoe.images.class_names import (
    in_words,
    look_alikes,
    mostly_unreadable,
    plain_form,
    relabelled,
    shown,
    unreadable,
    unreadable_names,
    unreadable_note,
)
from deltaoe.images.imagenet import imagenet_folders, imagenet_names, synset_names
from deltaoe.images.labels import label_table

IDS = st.sampled_from(sorted(synset_names()))
WORDS = st.text(string.ascii_letters + string.digits + " _-.\u00e9\u0301\u00a0狗", min_size=1, max_size=12)


# WordNet ids


def test_no_two_of_imagenets_21844_ids_have_one_name():
    names = synset_names()
    assert len(names) == len({name.casefold() for name in names.values()}) == 21_844


def test_imagenets_own_classes_have_open_clips_names():
    clean = dict(zip(imagenet_folders(), imagenet_names(), strict=True))
    names = synset_names()
    differ = {clean[one] for one in clean if names[one] != clean[one]}
    assert differ == {name for name in clean.values() if list(clean.values()).count(name) > 1}


@pytest.mark.parametrize(
    ("given_names", "worded"),
    [
        (["n02084071", "n02374451", "n02503517", "n02439033"], ["dog", "horse", "elephant", "giraffe"]),
        (["N02084071", "cat"], ["dog", "cat"]),
        # Both cranes of ImageNet, and two folders that say no more than crane
        (["n02012849", "n03126707"], ["crane bird", "construction crane"]),
        (["n02012849-crane", "n03126707-crane"], ["crane bird", "construction crane"]),
        # As tidy() leaves folders of Stanford Dogs, of others, and of NLTK's synsets
        (["n02085936-Maltese dog", "n02088094-Afghan hound"], ["Maltese dog", "Afghan hound"]),
        (["n02084071 dog", "horse (n02374451)"], ["dog", "horse"]),
        (["dog.n.01", "golden retriever.n.01"], ["dog", "golden retriever"]),
        # Offsets without n, as in ShapeNet, if all of them are ids
        (["02691156", "02958343"], ["airplane", "car"]),
        (["02691156", "02958344"], ["02691156", "02958344"]),
        (["20240101", "20240102"], ["20240101", "20240102"]),
        # Not known, and beside what is no word
        (["n99999999", "n02084071 3"], ["n99999999", "n02084071 3"]),
        # Never one class out of two
        (["n02084071", "dog"], ["n02084071", "dog"]),
        (["n02084071", "Dog"], ["n02084071", "Dog"]),
        (["crane.n.04", "crane.n.05"], ["crane.n.04", "crane.n.05"]),
    ],
)
def test_ids_in_words(given_names, worded):
    found = in_words(given_names)
    assert list(found.names) == worded
    ids = [name for name in given_names if re.search(r"n\d{8}|\.n\.", name) and unreadable(name) != "dates"]
    if any(a != b for a, b in zip(given_names, worded, strict=True)):
        first = next(a for a, b in zip(given_names, worded, strict=True) if a != b)
        assert found.notes and first in found.notes[0]
    assert bool(found.notes) or not ids or all(unreadable(name) or " 3" in name for name in ids)


def test_ids_may_stay():
    assert in_words(["n02084071", "cat"], keep_ids=True) == (("n02084071", "cat"), [])
    assert in_words(["n02084071", "n02374451"], keep=["n02084071"]).names == ("n02084071", "horse")


@given(
    st.lists(st.one_of(IDS, WORDS, IDS.map(lambda i: f"{i} crane")), unique=True, max_size=30), st.booleans()
)
@example(["caf\u00e9", "cafe\u0301", "CAF\u00c9"], False)
def test_classes_are_never_joined_and_say_so_once(names, keep_ids):
    worded, notes = in_words(names, keep_ids=keep_ids)
    assert len(set(worded)) == len(names) == len(worded)
    assert len(notes) <= 2
    assert in_words(worded, keep_ids=keep_ids).names == worded or not keep_ids
    if keep_ids:
        assert not notes
        assert {unicodedata.normalize("NFC", name) for name in worded} == {
            unicodedata.normalize("NFC", name) for name in names
        }


@given(st.lists(IDS, unique=True, min_size=1, max_size=20), st.lists(IDS, unique=True, max_size=20))
def test_an_id_has_the_same_name_in_every_data_set(one, other):
    both = list(dict.fromkeys(one + other))
    alone = dict(zip(one, in_words(one).names, strict=True))
    together = dict(zip(both, in_words(both).names, strict=True))
    assert alone.items() <= together.items()
    assert not unreadable_names(name for name in alone.values() if not re.search(r" n\d{8}$", name))


def test_without_the_tables_of_timm_ids_stay(monkeypatch):
    from deltaoe.errors import ModelError

    def missing():
        raise ModelError("no table")

    monkeypatch.setattr(class_names, "synset_names", missing)
    assert in_words(["n02084071", "02691156"]) == (("n02084071", "02691156"), [])


@given(st.lists(st.sampled_from(["n02084071", "zebra", "", "n02374451", "ant"]), min_size=1))
def test_every_image_keeps_its_class(cells):
    before = label_table(cells, None)
    words = in_words(before.class_names).names
    after = relabelled(before, words)
    assert list(after.class_names) == sorted(words)
    assert after.class_of.dtype == np.int64
    old = [before.class_names[i] if i >= 0 else None for i in before.class_of]
    new = [after.class_names[i] if i >= 0 else None for i in after.class_of]
    renamed = dict(zip(before.class_names, words, strict=True))
    assert new == [renamed.get(name) for name in old]


# Names that are no words

KINDS = {
    "numbers": ["0", "12", "007", "1.5", "-3", "737-800", "class_1", "class 0", "label3", "c0", "s1", "①"],
    "WordNet ids": ["n02084071", "N99999999"],
    "dates": ["2023", "20230101", "2023-01-05", "2023 01 05", "05.01.2023", "2023-01-05T10:11:12"],
    "single letters": ["A", "b", "Ä", "α", "A.", "(a)"],
    "symbols without letters": ["--", "***", "🐶", "…", "_"],
    "file names": ["IMG_0001.JPG", "cat.jpg", "a.tar.gz"],
    "hashes and codes": [
        "e3b0c442",
        "a1b2c3d",
        "dQw4w9WgXcQ",
        "SKU-12345",
        "DSC 0001",
        "x7Gk2PqZ9",
        "/m/01yrx",
        "m.0bt9lr",
    ],
    "": [
        *(
            "dog",
            "hot dog",
            "t-shirt",
            "o'clock",
            "狗",
            "собака",
            "éléphant",
            "3D printer",
            "7up",
            "4x4",
            "mp3",
        ),
        *(
            "A320",
            "ATR-72",
            "BAE 146-200",
            "Boeing 737",
            "AM General Hummer SUV 2000",
            "BMW X3 SUV 2012",
            "R2D2",
        ),
        *("001.Black footed Albatross", "AK-47", "X-ray", "1st", "decade", "U.S.", "Dodge Ram 3500"),
    ],
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_which_names_are_words(kind, name):
    assert unreadable(name) == kind


@given(st.integers())
def test_whole_numbers_are_no_words(number):
    assert unreadable(str(number))


@given(
    st.dates(date(1950, 1, 1), date(2049, 1, 1)),
    st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%Y_%m_%d"]),
)
def test_dates_are_no_words(day, pattern):
    assert unreadable(day.strftime(pattern).replace("_", " ")) == "dates"


@given(st.uuids())
def test_uuids_are_no_words(one: uuid.UUID):
    assert unreadable(str(one)) == unreadable(str(one).upper()) == "hashes and codes"


@given(st.binary(min_size=16, max_size=32))
def test_hexadecimal_digests_are_no_words(raw):
    assert unreadable(raw.hex()) in {"hashes and codes", "numbers"} or raw.hex().isalpha()


def test_the_names_of_imagenet_are_words():
    assert not unreadable_names(imagenet_names())


def test_names_that_differ_in_their_number_only_are_numbers():
    assert set(unreadable_names(["person 1", "person 2"])) == {"person 1", "person 2"}
    assert not unreadable_names(["A320", "A380", "Boeing 737"])
    assert not unreadable_names(["person 1"])


def test_the_note_counts_names_by_kind():
    (note,) = unreadable_note(["1", "2", "3", "4", "dog", "B"], "Do this.")
    assert note == (
        "CLIP cannot read 5 of 6 class names as words: numbers (1, 2, 3 …); single letters (B); "
        "prompts with them say little. Do this."
    )
    assert unreadable_note(["dog", "cat"], "Do this.") == []
    assert mostly_unreadable(["1", "2", "dog"]) and not mostly_unreadable(["1", "dog"])


# Names that look the same


@given(st.lists(WORDS, unique=True, max_size=12), st.randoms())
def test_the_same_name_in_another_form_is_found(names: list[str], chance: random.Random):
    forms = {name: unicodedata.normalize(chance.choice(["NFD", "NFC"]), name.swapcase()) for name in names}
    every = list(dict.fromkeys([*names, *forms.values()]))
    groups = look_alikes(every)
    together = {name: group for group in groups for name in group}
    for name, form in forms.items():
        assert plain_form(name) == plain_form(form)
        assert name == form or together[name] is together[form]
    assert sorted(name for group in groups for name in group) == sorted(together)
    assert all(len(group) > 1 for group in groups)


def test_twins_are_shown_apart():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert shown(composed) == composed
    assert {shown(composed, [decomposed]), shown(decomposed, [composed])} == {r"caf\xe9", r"cafe\u0301"}
    assert shown("hot\u00a0dog", ["hot dog"]) == r"hot\xa0dog"
    long = ["x" * 80 + "a", "x" * 80 + "b"]
    assert shown(long[0]) != shown(long[1]) and len(shown(long[0])) == 40
