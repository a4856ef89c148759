"""What a tuning has brought, and what to do after an extraction, in words."""

from __future__ import annotations

import pytest

from deltaoe.tuning.sentences import after_extraction, outcome


def comparison(accuracy=(0.04, 0.01, 0.07), auroc=(0.02, -0.01, 0.05), near=0.9, far=0.98):
    def side(minus: float, auroc_minus: float) -> dict:
        return {
            "accuracy": 0.93 - minus,
            "near": None if near is None else near - auroc_minus,
            "far": None if far is None else far - auroc_minus,
        }

    found = {"images": 192, "tuned": side(0, 0), "zero_shot": side(accuracy[0], auroc[0] if auroc else 0)}
    found["accuracy_difference"] = list(accuracy)
    return found | ({"auroc_difference": list(auroc)} if auroc else {})


def test_what_tuning_has_brought():
    assert "Fewer --shots" in outcome({}, 20)[0] and "Fewer" not in outcome({}, 20, apart=True)[0]
    assert outcome(comparison(), 480) == [
        "93.0 % of 192 validation images, which nothing was learned from, are classified right, 89.0 % with zero-shot "
        "prompts: tuning has raised it by 4.0 points (95 % interval +1.0 to +7.0).",
        "Against unknowns made from your images (held-out classes and shuffled features) the AUROC is 0.940, 0.920 "
        "with zero-shot prompts: the difference of +0.020 can be chance (95 % interval -0.010 to +0.050).",
        "480 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.0021.",
    ]


@pytest.mark.parametrize(
    ("accuracy", "auroc", "says"),
    [
        ((0.01, -0.01, 0.03), (0.0, -0.01, 0.01), ["of +1.0 points can be chance", "has not changed it"]),
        (
            (-0.05, -0.08, -0.02),
            (0.0, -0.01, 0.01),
            ["lowered it by 5.0 points (95 % interval -8.0 to -2.0)"],
        ),
        ((0.01, -0.01, 0.03), None, ["of +1.0 points can be chance"]),
    ],
)
def test_tuning_that_has_brought_nothing_says_so(accuracy, auroc, says):
    found = outcome(comparison(accuracy, auroc, *((None, None) if auroc is None else ())), 100)
    assert found[-2] == (
        "Tuning has brought nothing that these images can show; deltaoe score --zero-shot does without it."
    )
    assert all(words in " ".join(found) for words in says)
    assert ("AUROC" in " ".join(found)) == (auroc is not None)


def test_one_certain_gain_is_something():
    for changes in ({"accuracy": (0.0, -0.01, 0.01), "auroc": (0.03, 0.01, 0.05)}, {}):
        assert "brought nothing" not in " ".join(outcome(comparison(**changes), 100))


def test_two_classes_have_no_held_out_ones():
    text = " ".join(outcome(comparison(near=None), 100))
    assert "(shuffled features) the AUROC is 0.980, 0.960 with zero-shot prompts" in text


def test_without_a_comparison():
    """Nothing is made up: without validation images, and without prompts that were learned."""
    assert outcome({}, 44)[0].startswith("Accuracy on new images is not known: there are too few images")
    alone = {"images": 30, "tuned": {"accuracy": 1.0, "near": None, "far": 0.9}}
    first, second, _ = outcome(alone, 100)
    assert first == "100.0 % of 30 validation images, which nothing was learned from, are classified right."
    assert second == "Against unknowns made from your images (shuffled features) the AUROC is 0.900."


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (0, "No images are left to calibrate with: every image is undecided."),
        (1, "Only 1 image calibrates: the smallest usable α, the accepted share of false alarms, is 0.5, and at the "
            "usual 0.05 every image is undecided."),
        (18, "Only 18 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.0527, and at "
            "the usual 0.05 every image is undecided."),
        (19, "19 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.05."),
        (12345, "12,345 images calibrate: the smallest usable α, the accepted share of false alarms, is 0.0001."),
    ],
)  # fmt: skip
def test_what_the_calibration_allows(images, sentence):
    assert outcome({}, images)[-1] == sentence


@pytest.mark.parametrize(
    ("sizes", "command", "reason"),
    [
        ({"cat": 60, "dog": 60}, "deltaoe tune --shots 16", ""),
        (
            {"cat": 72, "dog": 90},
            "deltaoe tune --shots 16",
            "16 shots of each class leave no images to validate the tuning with; 15 shots leave 30.",
        ),
        (
            {"cat": 66, "dog": 66},
            "deltaoe tune --shots 16",
            "16 shots of each class leave no images to validate the tuning with; 8 shots leave 16.",
        ),
        ({"cat": 65, "dog": 66}, "deltaoe tune --shots 16", ""),
        ({"cat": 82, "dog": 82}, "deltaoe tune --shots 16", ""),
        (
            {"cat": 20, "dog": 20, "owl": 20},
            "deltaoe tune --shots 13",
            "13 shots of each class leave 21 images to calibrate with, and 14 shots 18: α = 0.05 needs 19.",
        ),
        ({"cat": 500, "dog": 3}, "deltaoe tune --shots 3", "dog has 3 distinct images."),
        ({"cat": 500, "dog": 1}, "deltaoe tune --shots 1", "dog has 1 distinct image."),
        (
            {"cat": 10, "dog": 10},
            "deltaoe score ./unknown --zero-shot",
            "Too few images to tune: 20 distinct ones in 2 classes, and one of each class must be learned from and 19 "
            "calibrate for α = 0.05; 1 more would do.",
        ),
        (
            {"cat": 5},
            "",
            "Too few images to tune: 5 distinct ones in 1 class, and one of each class must be learned from and 19 "
            "calibrate for α = 0.05; 15 more would do.",
        ),
        (
            {"cat": 50, "dog": 0},
            "",
            "1 of 2 classes have no image of their own to learn from: dog; add some, or remove them",
        ),
    ],
)
def test_after_an_extraction(sizes, command, reason):
    found = after_extraction(sizes)
    assert (found.command, found.reason) == (command, reason)
    assert found.shots == (int(command.split()[-1]) if "--shots" in command else None)
