"""Names of splits: their usual spellings, what only looks like them, and what is refused."""

from __future__ import annotations

import pytest

from latlas.data.parts import split_word, splits_among
from latlas.errors import InputError

SPELLINGS = {
    "train": ("train", "Train", "TRAIN", "training", "Training", "train_set", "train-set", "trainset", "TrainSet",
              "training_set", "training set", "train_images", "trainImages", "train_data", "traindata", "01_train",
              "train2017", "train.v2", "train_64x64", "imagesTr", "images_Tr", "trn", "trainval",
              "train_val", "train images (full)"),
    "valid": ("valid", "val", "Val", "validation", "validate", "valid_set", "validation-set", "val2017", "dev",
              "devset", "development", "validation_images"),
    "test": ("test", "TEST", "tests", "testing", "Testing", "test_set", "testset", "test-images", "test1", "t10k",
             "imagesTs", "tst", "holdout", "hold-out", "held_out"),
    "eval": ("eval", "evaluation", "eval_set"),
}  # fmt: skip


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in SPELLINGS for name in SPELLINGS[part]])
def test_usual_spellings(part: str, name: str) -> None:
    assert split_word(name) == (part, ())


@pytest.mark.parametrize("name", ["cat", "trainer", "strain", "latest", "contest", "devil", "valley", "restraint", "x",
                                  "", "testament", "values", "evaluate me", "test-train",
                                  "imagesTrees", "Tr"])  # fmt: skip
def test_what_is_no_split(name: str) -> None:
    assert split_word(name) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("train test", "train test"),
        ("Training Testing", "train test"),
        ("training_set test_set", "train test"),
        ("seg_train seg_test", "train test"),
        ("DIV2K_train_HR DIV2K_valid_HR", "train valid"),
        ("train val test", "train valid test"),
        ("train dev test", "train valid test"),
        ("train eval", "train test"),
        ("train eval test", "train valid test"),
        ("trainval test", "train test"),
        ("train", "train"),
        ("test valid", "test valid"),  # for use; there is nothing to train on
        # Classes: none, or one word that names other things as well.
        ("cat dog", None),
        ("test_tube beaker", None),
        ("crash_test train_station", None),
        ("bus car train", None),
        ("valid invalid", None),
        ("contest protest", None),
    ],
)
def test_names_together(names: str, expected: str | None) -> None:
    words = names.split()
    assert splits_among(words) == (dict(zip(words, expected.split(), strict=True)) if expected else {})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "train test unlabeled",
            "'test' and 'train' look like splits, but 'unlabeled' beside them is none of",
        ),
        ("train test bus", "'bus' beside them is none of train, valid and test; keep only the splits there"),
        ("train unlabeled", "'train' looks like a split, but 'unlabeled' beside it is none of"),
        ("cats dogs test", "'test' looks like a split, but 'cats' and 'dogs' beside it is none of"),
        ("train training test", "'train' and 'training' all name the train split; keep one"),
        ("train1 train2 test", "'train1' and 'train2' all name the train split"),
        ("trainA trainB testA testB", "look like splits of several data sets"),
        ("bounding_box_train bounding_box_test query", "'query' beside them"),
        ("val valid train", "'val' and 'valid' all name the valid split"),
    ],
)
def test_names_refused(names: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        splits_among(names.split())


def test_a_class_called_train_holds_no_classes() -> None:
    assert splits_among(["bus", "train"]) == {}
    with pytest.raises(InputError, match="looks like a split"):
        splits_among(["bus", "train"], deep=["train"])
