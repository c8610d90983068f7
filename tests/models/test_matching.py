"""Names of classes as people write them, and ImageNet's lists against each other."""

import pytest

from fluoroscope.models import matching
from fluoroscope.models.matching import fold, loosened, match

CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SWEDISH = ["bil", "fågel", "höna", "tåg"]


def numbers(names: list[str], labels: list[str]) -> list[int | None]:
    return list(match(names, labels).numbers)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Ta\u030ag", "FA\u030aGEL"], [3, 1]),  # decomposed, as a Mac names its folders
        (["Fagel", "hona"], [1, 2]),
        (["en_bil"], [None]),
    ],
)
def test_accents(names: list[str], expected: list[int | None]) -> None:
    assert numbers(names, SWEDISH) == expected


def test_case_underscores_hyphens_brackets_and_articles() -> None:
    labels = ["jack-o'-lantern", "hen-of-the-woods", "crane (bird)", "Old English sheepdog"]
    names = ["the jack_o_lantern", "Hen of the Woods", "crane bird", "old-english-sheepdog"]
    assert numbers(names, labels) == [0, 1, 2, 3]
    assert fold(" Great_White  Shark") == "great white shark"
    assert loosened("Potter's wheel") == loosened("potters-wheel")


def test_plurals_are_other_words() -> None:
    assert numbers(["sunglasses"], ["sunglass", "cat"]) == [None]


@pytest.mark.parametrize(
    ("names", "expected", "note"),
    [
        # No folder 3, as where a class is empty.
        ([str(n) for n in range(10) if n != 3], [n for n in range(10) if n != 3], None),
        (sorted(str(n) for n in range(1, 11)), [0, 9, *range(1, 9)], "'1' is 'airplane'"),
        ([f"{n:03}" for n in range(10)], list(range(10)), None),
        (["4", "7"], [4, 7], "begin at 0"),
    ],
)
def test_folders_named_by_numbers(names: list[str], expected: list[int], note: str | None) -> None:
    found = match(names, CIFAR)
    assert found.refusal is None
    assert list(found.numbers) == expected
    assert set(found.how) == {"number"}
    assert (note in found.notes[0]) if note else not found.notes
    unnamed = match(names, [str(number) for number in range(10)])
    assert list(unnamed.numbers) == expected


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["1", "2", "10"], "numbers from 1 to 10, and .* has 10, from 0 to 9"),
        ([*map(str, range(2, 11)), "12"], "from 2 to 12"),
        (["1", "01"], "by the same number"),
    ],
)
def test_numbers_that_do_not_tell_are_refused(names: list[str], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(match(names, CIFAR).refusal)


# ImageNet


REMARKS = {134: "crane (bird)", 517: "crane (machine)", 639: "maillot (tank suit)"}


def lists() -> dict[str, list[str]]:
    from timm.data import ImageNetInfo
    from torchvision.models import ResNet18_Weights

    timm = ImageNetInfo("imagenet-1k").label_descriptions()
    first = [name.split(",")[0] for name in timm]
    return {
        "torchvision": ResNet18_Weights.DEFAULT.meta["categories"],
        "timm": timm,
        "wordnet": ImageNetInfo("imagenet-1k").label_names(),
        "first synonyms": first,
        # As Transformers has them.
        "remarks": [REMARKS.get(at, name) for at, name in enumerate(first)],
        "folders": [name.lower().replace(" ", "_") for name in first],
    }


@pytest.fixture(scope="module")
def imagenet() -> dict[str, list[str]]:
    pytest.importorskip("timm")
    return lists()


@pytest.mark.parametrize(
    ("data", "network"),
    [
        ("torchvision", "timm"),
        ("timm", "torchvision"),
        ("wordnet", "remarks"),
        ("remarks", "wordnet"),
        ("folders", "torchvision"),
        ("remarks", "first synonyms"),
        ("torchvision", "torchvision"),
    ],
)
def test_imagenets_lists(imagenet: dict[str, list[str]], data: str, network: str) -> None:
    names, labels = imagenet[data], imagenet[network]
    whole = match(names, labels)
    assert whole.refusal is None
    assert list(whole.numbers) == list(range(1000))
    assert len(whole.notes) <= 1
    some = [4, 134, 207, 340, 517, 999] if "crane bird" in names and data == network else [
        4, 207, 340, 999,
    ]  # fmt: skip
    assert numbers([names[at] for at in some], labels) == some
    order = sorted(range(1000), key=names.__getitem__)
    mixed = match([names[at] for at in order], labels)
    # Where two share a name and places tell nothing, it is refused and never guessed.
    assert all(found in (None, at) for found, at in zip(mixed.numbers, order, strict=True))
    assert sum(found is None for found in mixed.numbers) <= 8


def test_names_that_collide_go_by_their_places_and_a_line_says_which(
    imagenet: dict[str, list[str]],
) -> None:
    low = [name.lower() for name in imagenet["torchvision"]]
    found = match(low, imagenet["timm"])
    assert found.numbers == tuple(range(1000))
    assert "'cardigan'" in found.notes[0]
    assert "places decide" in found.notes[0]
    # The dog and the garment, alone, are told apart by their spelling, and one of them by nothing.
    assert numbers(["Cardigan", "cardigan"], imagenet["timm"]) == [264, 474]
    assert numbers(["Cardigan"], imagenet["timm"]) == [None]


def test_a_refusal_names_what_really_does_not_fit(imagenet: dict[str, list[str]]) -> None:
    names = sorted(imagenet["timm"], key=str.casefold)
    names[names.index("tench, Tinca tinca")] = "tensh"
    refusal = match(names, imagenet["timm"]).refusal or ""
    assert "'tensh' is none of its (the nearest: 'tench, Tinca tinca'" in refusal


def test_two_true_names_in_each_others_place_are_not_overlooked() -> None:
    swapped = [*CIFAR, *map(str, range(100, 130))]
    labels = list(swapped)
    swapped[3], swapped[5] = swapped[5], swapped[3]
    assert numbers(swapped, labels) == [0, 1, 2, 5, 4, 3, *range(6, 40)]


def test_timm_calls_them_what_its_files_say_that_are_read_without_it() -> None:
    timm = pytest.importorskip("timm.data")
    info = timm.ImageNetInfo("imagenet-1k")
    assert matching._timm_lists() == [info.label_descriptions(), info.label_names()]
