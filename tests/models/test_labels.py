"""Finding a class by what a person types."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fluoroscope.errors import FluoroscopeWarning, UnknownLabelError
from fluoroscope.models.labels import find_class

SYNONYMS = [
    "tabby, tabby cat",
    "tiger cat",
    "tiger, Panthera tigris",
    "crane (bird)",
    "crane (lift)",
]
DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def imagenet(shared: Path) -> list[str]:
    config = json.loads((shared / "models/mobilenet_v1_0.75_224/config.json").read_text())
    return [config["id2label"][str(index)] for index in range(1000)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("tabby, tabby cat", 0),
        ("TABBY CAT", 0),
        (" tabby ", 0),
        ("tiger", 2),  # a synonym of one, only a prefix of the other
        (4, 4),
        (np.int64(4), 4),
        ("4", 4),
    ],
)
def test_a_class_answers_to_names_prefixes_and_index(wanted: str | int, expected: int) -> None:
    assert find_class(wanted, SYNONYMS) == expected


@pytest.mark.parametrize(("wanted", "expected"), [("tiger c", 1), ("panthera", 2), ("crane (b", 3)])
def test_a_beginning_is_told_of(wanted: str, expected: int) -> None:
    with pytest.warns(FluoroscopeWarning, match=re.escape(f"{wanted!r} is taken as '")):
        assert find_class(wanted, SYNONYMS) == expected


def test_a_word_of_a_name_comes_before_the_beginning_of_another() -> None:
    cats = ["catamaran", "tiger_cat", "Egyptian cat", "cattle"]
    with pytest.raises(UnknownLabelError, match=r"1 \(tiger_cat\), 2 \(Egyptian cat\); give"):
        find_class("cat", cats)
    with pytest.warns(FluoroscopeWarning, match="'cat' is taken as 'tiger_cat'"):
        assert find_class("cat", [cats[0], cats[1]]) == 1
    with pytest.warns(FluoroscopeWarning, match="'cat' is taken as 'catamaran'"):
        assert find_class("cat", [cats[0], "wildcat"]) == 0
    with pytest.raises(UnknownLabelError, match="no class is called"):
        find_class("cat", cats[1:3])  # a word alone is no beginning


def test_numbers_are_names_first_and_indices_second() -> None:
    assert find_class("7", DIGITS) == 7
    assert find_class("7", list(reversed(DIGITS))) == 2
    assert find_class("1", ["10", "11", "12"]) == 1  # never a prefix of a number


def test_the_same_spelling_comes_before_another_case() -> None:
    labels = ["Cardigan", "cardigan"]
    assert [find_class(label, labels) for label in labels] == [0, 1]
    with pytest.raises(UnknownLabelError, match=r"several classes: 0 \(Cardigan\), 1 \(cardigan\)"):
        find_class("CARDIGAN", labels)


def test_a_name_that_fits_several_classes_is_refused_with_their_indices() -> None:
    with pytest.raises(UnknownLabelError, match=r"3 \(crane \(bird\)\), 4 \(crane \(lift\)\)"):
        find_class("crane", SYNONYMS)


def test_equal_labels_can_only_be_told_apart_by_index() -> None:
    with pytest.raises(UnknownLabelError, match="give the whole name or the index"):
        find_class("crane", ["crane", "crane"])
    assert find_class("1", ["crane", "crane"]) == 1


@pytest.mark.parametrize("wanted", ["", "  ", "nothing like it", "-1", "1.5"])
def test_no_such_class(wanted: str) -> None:
    with pytest.raises(UnknownLabelError, match="no class is called"):
        find_class(wanted, SYNONYMS)


@pytest.mark.parametrize("wanted", [-1, 5, "5"])
def test_an_index_out_of_range_says_the_range(wanted: str | int) -> None:
    with pytest.raises(UnknownLabelError, match="expected an index from 0 to 4"):
        find_class(wanted, SYNONYMS)


def test_the_nearest_names_are_suggested() -> None:
    with pytest.raises(UnknownLabelError, match="did you mean 'tabby, tabby cat'"):
        find_class("taby", SYNONYMS)


def test_few_labels_are_listed_and_many_are_counted(imagenet: list[str]) -> None:
    with pytest.raises(UnknownLabelError, match="expected one of: 0; 1; 2"):
        find_class("eleven", DIGITS)
    with pytest.raises(UnknownLabelError, match="an index from 0 to 999"):
        find_class("qqq", imagenet)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("vulture", 23),
        ("chihuahua", 151),
        ("bath towel", 434),
    ],
)
def test_imagenet_names(imagenet: list[str], wanted: str, expected: int) -> None:
    assert find_class(wanted, imagenet) == expected


def test_beginnings_of_imagenet_names(imagenet: list[str]) -> None:
    for wanted, expected in (("giant p", 388), ("german she", 235)):
        with pytest.warns(FluoroscopeWarning, match=f"'{wanted}' is taken as"):
            assert find_class(wanted, imagenet) == expected
    with pytest.raises(UnknownLabelError, match=r"282 \(tiger cat\)"):
        find_class("cat", imagenet)


def test_imagenet_has_two_cranes_and_no_plain_panda(imagenet: list[str]) -> None:
    with pytest.raises(
        UnknownLabelError, match=r"134 \(crane \(bird\)\), 517 \(crane \(machine\)\)"
    ):
        find_class("crane", imagenet)
    with pytest.raises(UnknownLabelError, match="did you mean 'lesser panda' or 'giant panda'"):
        find_class("panda", imagenet)
