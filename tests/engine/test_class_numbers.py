"""Classes of data as classes of a network: by names, synonyms, numbers and places."""

import random
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fluoroscope as fs
from fluoroscope.engine.labels import checked, class_numbers

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
IMAGENET = [
    "tench, Tinca tinca", "great white shark, white shark, man-eater", "crane", "toucan",
    "tabby, tabby cat", "crane", "sunglass", "sunglasses, dark glasses, shades", "drake",
]  # fmt: skip


def network(labels: list[str]) -> fs.Classifier:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, len(labels)))
    return fs.Classifier(module, channels=1, input_size=2, labels=labels)


def numbers(labels: list[str], names: list[str] | None) -> list[int] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = class_numbers(network(labels), names)
    return None if found is None else found.tolist()


def test_the_same_names_and_no_names_stay() -> None:
    assert numbers(CIFAR, CIFAR) is None
    assert numbers(CIFAR, None) is None
    assert numbers(CIFAR, ["Airplane", *CIFAR[1:9], " TRUCK "]) is None


@given(st.randoms(use_true_random=False), st.integers(1, 10))
def test_reordered_and_fewer_classes_are_found_by_name(rng: random.Random, count: int) -> None:
    names = rng.sample(CIFAR, count)
    found = class_numbers(network(CIFAR), names)
    mapped = range(10) if found is None else found.tolist()
    assert [CIFAR[number] for number in mapped] == names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["shades", "tench", "Great_White_Shark"], [7, 0, 1]),
        (["toucan", "white shark", "tabby cat"], [3, 1, 4]),
        (["sunglasses", "sunglass"], [7, 6]),
        (["Tinca tinca, tench", "drake"], [0, 8]),
        # The two cranes are told apart only by where they stand.
        (["tench", "white shark", "crane", *IMAGENET[3:5], "crane", *IMAGENET[6:]], None),
    ],
)
def test_synonyms_as_imagenet_has_them(names: list[str], expected: list[int] | None) -> None:
    assert numbers(IMAGENET, names) == expected


def test_a_whole_name_comes_before_a_synonym() -> None:
    assert numbers(["heron, crane", "crane"], ["crane"]) == [1]


def test_folders_named_by_number_come_in_the_order_of_the_alphabet() -> None:
    labels = [
        f"class of {number}" for number in ["zero", "one", "two", "three", "four", "five"]
    ] * 2
    labels = [f"{label} {place}" for place, label in enumerate(labels)]
    folders = sorted(map(str, range(12)))
    assert folders[2] == "10"
    assert numbers(labels, folders) == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "names",
    [
        [f"n{number:08}" for number in range(10)],
        ["aeroplane", "car", *CIFAR[2:]],  # those that are known stand where the network has them
    ],
)
def test_other_words_go_by_their_places_and_it_is_said(names: list[str]) -> None:
    with pytest.warns(fs.FluoroscopeWarning, match="'airplane'.*by their places"):
        assert class_numbers(network(CIFAR), names) is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["car", "airplane", *CIFAR[2:]], "'car' is none of its"),
        (["cat", "dog", "panda"], "3 classes .* has 10.*'panda' is none of its"),
        ([*CIFAR, "background"], "11 classes .* 'background' is none of its"),
        (["cat", "Cat"], "several .* 'cat'"),
        (["cat", "lorry"], "--labels FILE"),
    ],
)
def test_names_that_do_not_tell_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(fs.errors.UnknownLabelError, match=message):
        class_numbers(network(CIFAR), names)


def test_a_name_of_several_classes_is_refused() -> None:
    with pytest.raises(fs.errors.UnknownLabelError, match="'crane' stands for 2"):
        class_numbers(network(IMAGENET), ["tench", "drake", "crane"])


def test_numbers_beyond_the_network_are_refused() -> None:
    for label in (10, -1):
        with pytest.raises(fs.errors.UnknownLabelError, match=f"label {label}.*0 to 9"):
            checked(network(CIFAR), torch.tensor([3, label]))
    assert checked(network(CIFAR), torch.tensor([0, 9])).tolist() == [0, 9]


@pytest.mark.parametrize("written", ["{number:03}.{name}", "{number} - {name}", "{number}_{name}"])
def test_a_number_before_every_name_is_none_of_it(written: str) -> None:
    model = fs.Classifier(torch.nn.Linear(1, 3), labels=("crane", "otter", "kite"), channels=1)
    names = ["kite", "crane", "otter"]
    given = [written.format(number=at, name=name) for at, name in enumerate(names)]
    found = class_numbers(model, given)
    assert found is not None
    assert found.tolist() == [2, 0, 1]


def test_wordnet_numbers_before_the_names_of_imagenet() -> None:
    names = ["tench", "goldfish", "great white shark"]
    model = fs.Classifier(torch.nn.Linear(1, 3), labels=names, channels=1)
    given = ["n01484850_great_white_shark", "n01440764_tench", "n01443537_goldfish"]
    found = class_numbers(model, given)
    assert found is not None
    assert found.tolist() == [2, 0, 1]
