"""Names of folders and cells that say which split of a data set an image belongs to: train, val or test."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_TRAIN = (
    "train training trainval trainvalidation entrainement entraînement apprentissage entrenamiento treino treinamento "
    "addestramento 训练 训练集 訓練 学習 학습 훈련"
)
_VAL = (
    "val valid validation validate dev devel development eval evaluation calib calibration validierung validacion "
    "validación validaçao validação validazione 验证 验证集 検証 검증"
)
_TEST = (
    "test testing tests holdout heldout prüfung prueba pruebas teste testes 测试 测试集 測試 テスト 테스트"
)
_WORDS: dict[str, Split] = {
    **dict.fromkeys(_TRAIN.split(), "train"),
    **dict.fromkeys(_VAL.split(), "val"),
    **dict.fromkeys(_TEST.split(), "test"),
}
# Too short to say anything beside other words.
_ALONE: dict[str, Split] = {
    "tr": "train",
    "trn": "train",
    "va": "val",
    "vld": "val",
    "te": "test",
    "tst": "test",
}
# Words beside one of those above that change nothing: test_images, seg_train, val2017, bounding_box_test.
_FILLER_WORDS = (
    "set sets data dataset datasets split splits image images img imgs pic pics picture pictures photo photos sample "
    "samples example examples file files folder folders dir jpg jpeg jpegs png small mini tiny full new final clean "
    "original orig raw public private seg cls bounding box imagenet part parts shard batch v"
)
_FILLERS = frozenset(_FILLER_WORDS.split())
# Folders that lie beside splits and are none: images without a true class, to try a finished model on.
_OUTSIDE_WORDS = (
    "predict prediction predictions pred preds inference infer unlabeled unlabelled unlabel unsup unsupervised extra "
    "submission submissions demo demos"
)
_OUTSIDE = frozenset(_OUTSIDE_WORDS.split())
_HINT = re.compile("tr|va|te|ts|vl|de|ev|cal|hol|hel|[^\\x00-\\x7f]", re.IGNORECASE)
_PARTS = re.compile(r"[^\W\d_]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


@lru_cache(maxsize=4096)
def canonical_split(name: str) -> Split | None:
    """The split that a folder, or a cell of a table, is named after; None if it is none.

    Case and what stands between words do not matter, nor do numbers and words like *set*, *data* and *images*.

    Example:
        >>> [canonical_split(name) for name in ("Training_Set", "val2017", "test-images", "dev", "single_prediction")]
        ['train', 'val', 'test', 'val', None]
        >>> [canonical_split(name) for name in ("model train", "test tube", "trainers", "valley")]
        [None, None, None, None]
    """
    if not _HINT.search(name):  # of 100,000 class folders none is looked at any closer
        return None
    words = _words(name)
    if len(words) == 1 and words[0] in _ALONE:
        return _ALONE[words[0]]
    if words == ["held", "out"] or words == ["hold", "out"]:
        return "test"
    meanings = [_meaning(word) for word in words]
    if None in meanings:
        return None
    found = {meaning for meaning in meanings if meaning}
    if found == {"train", "val"}:  # train_val holds both, and nobody tests on it
        return "train"
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=4096)
def split_within(name: str) -> tuple[Split, tuple[str, ...]] | None:
    """The one split that a name speaks of among other words, and these words; None if it is none or several.

    That the folder is a split is not said by its name, then, but by those beside it, or by a layout.

    Example:
        >>> split_within("cars_train"), split_within("ISIC_Task3_Test_Input")
        (('train', ('cars',)), ('test', ('isic', 'task', 'input')))
    """
    words = _words(name)
    found = {word: meaning for word in words if (meaning := _meaning(word))}
    if len(set(found.values())) != 1:
        return None
    return next(iter(found.values())), tuple(word for word in words if word not in found)


def _meaning(word: str) -> Split | Literal[""] | None:
    """The split that a word names, alone or written together with a filler; empty for a filler, None for another."""
    if word in _FILLERS:
        return ""
    if word in _WORDS:
        return _WORDS[word]
    for end in range(len(word) - 1, 2, -1):
        if word[:end] in _WORDS and word[end:] in _FILLERS:
            return _WORDS[word[:end]]
    return next(
        (_WORDS[word[start:]] for start in range(1, len(word)) if _is_filler_and_split(word, start)), None
    )


def _is_filler_and_split(word: str, start: int) -> bool:
    return word[:start] in _FILLERS and word[start:] in _WORDS


@lru_cache(maxsize=4096)
def is_outside_splits(name: str) -> bool:
    """Whether a folder's name says that it lies beside the splits and is none.

    Example:
        >>> [is_outside_splits(name) for name in ("single_prediction", "seg_pred", "unlabeled2017", "dog")]
        [True, True, True, False]
    """
    words = _words(name)
    rest = [word for word in words if word not in _OUTSIDE]
    return len(rest) < len(words) and all(word in _FILLERS or word in {"single", "to"} for word in rest)


def _words(name: str) -> list[str]:
    """The words of a name in lower case, numbers left out."""
    text = _CAMEL.sub(" ", unicodedata.normalize("NFKC", name))
    return [word for word in _PARTS.findall(text.casefold()) if not word.isdigit()]
