"""Accuracy under corruptions against a slow count, and the mean corruption error by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fluoroscope as fs
from fluoroscope.evaluation.corruptions.catalogue import (
    EXTRA,
    FIFTEEN,
    SEVERITIES,
    corrupt,
)
from fluoroscope.evaluation.corruptions.mce import (
    ALEXNET,
    ALEXNET_CLEAN,
    mean_corruption_error,
)
from fluoroscope.evaluation.corruptions.table import corruption_figure, corruption_strip
from fluoroscope.models.matching import is_imagenet
from tests.evaluation.test_corruptions import pictures


@pytest.fixture(scope="module")
def reader() -> fs.Classifier:
    """Reads noisy pictures well and sometimes wrong."""
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 4)
    )
    return fs.Classifier(module, channels=1, input_size=12, labels=tuple("abcd"))


@settings(max_examples=25)
@given(count=st.integers(1, 9), batch_size=st.integers(1, 5), seed=st.integers(0, 5))
def test_a_slow_count(reader: fs.Classifier, count: int, batch_size: int, seed: int) -> None:
    images = pictures(count, 1)
    labels = fs.predict(reader, images).winners.roll(1)
    names = ("impulse-noise", "contrast")
    calls: list[tuple[int, int]] = []
    table = fs.corruption_accuracy(
        reader, images, labels, corruptions=names, seed=seed, batch_size=batch_size,
        at_chance=True, on_progress=lambda *at: calls.append(at),
    )  # fmt: skip
    rights = 0
    for row, name in zip(table.rows, names, strict=True):
        assert row.corruption == name
        for severity in SEVERITIES:
            seen = [
                corrupt(images[i : i + 1], name, severity, seed=seed, numbers=torch.tensor([i]))
                for i in range(count)
            ]
            right = sum(
                int(reader(image).argmax(1) == label)
                for image, label in zip(seen, labels, strict=True)
            )
            assert row.right[severity - 1] == right
            assert row.accuracy[severity - 1] == right / count
            low, high = row.intervals[severity - 1]
            assert low <= right / count <= high
            rights += right
    assert table.mean_accuracy == pytest.approx(rights / (10 * count))
    assert table.mean_interval[0] <= table.mean_accuracy <= table.mean_interval[1]
    assert table.clean_accuracy == float(
        (fs.predict(reader, images).winners == labels).double().mean()
    )
    assert table.complete
    assert table.count == count
    assert table.forwards == 11 * count
    assert calls[-1] == (11 * count, 11 * count)
    assert calls == sorted(calls)
    assert len(set(calls)) == len(calls)


def test_a_data_set_keeps_its_numbers(reader: fs.Classifier) -> None:
    images = pictures(8, 1)
    labels = fs.predict(reader, images).winners
    data = fs.load_images(list(images), channels=1)
    whole = fs.corruption_accuracy(reader, images, labels, at_chance=True)
    assert whole.record["scale"] == "cifar-10-c"
    assert whole.describe()["count"] == 8
    with pytest.raises(fs.FluoroscopeError, match="has no labels"):
        fs.corruption_accuracy(reader, data)


def test_stopping_leaves_whole_pictures(reader: fs.Classifier) -> None:
    images, asked = pictures(6, 1), 0
    labels = fs.predict(reader, images).winners

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 15

    table = fs.corruption_accuracy(
        reader, images, labels, corruptions=["jpeg"], batch_size=2, at_chance=True, cancelled=stop
    )
    assert not table.complete
    assert table.count == 4
    nothing = fs.corruption_accuracy(
        reader, images, labels, corruptions=["jpeg"], cancelled=lambda: True
    )
    assert nothing.count == 0
    assert nothing.clean_interval == (0, 1)
    assert not nothing.complete


def test_pictures_of_the_table(reader: fs.Classifier) -> None:
    images = pictures(3, 1)
    table = fs.corruption_accuracy(reader, images, fs.predict(reader, images).winners)
    assert [row.corruption for row in table.rows] == list(FIFTEEN)
    assert len(corruption_figure(table).axes) == 15
    strip = corruption_strip(images[0], table)
    assert len(strip.axes) == 15 * 6
    titles = [axis.get_title() for axis in strip.axes if axis.get_title()]
    assert titles == ["clean", *"12345"] * 2
    some = fs.corruption_accuracy(
        reader, images, fs.predict(reader, images).winners, corruptions=["fog"], severities=[5, 2]
    )
    assert some.severities == (2, 5)
    assert some.rows[0].right == (table.rows[9].right[1], table.rows[9].right[4])
    assert some.rows[0].strengths == ((0.5, 3), (1.5, 1.75))
    assert "the means are over severity 2, 5 alone" in some.record["notes"][0]
    assert [axis.get_title() for axis in corruption_strip(images[0], some).axes] == [
        "clean",
        "2",
        "5",
    ]
    assert table.worst.mean_accuracy == min(row.mean_accuracy for row in table.rows)


def test_bad_input(reader: fs.Classifier) -> None:
    images = pictures(2, 1)
    labels = torch.tensor([0, 1])
    for options, words in (
        ({"corruptions": ["rain"]}, "'rain'; expected one of gaussian-noise"),
        ({"severities": [0]}, "severity is 0; expected a whole number from 1 to 5"),
        ({"severities": []}, "no severity was chosen"),
        ({"frost": "nowhere"}, "frost= is 'nowhere', which is no folder"),
        ({"corruptions": []}, "no corruption was chosen"),
        ({"scale": "mnist-c"}, "scale is 'mnist-c'; expected 'cifar-10-c' or"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(fs.FluoroscopeError, match=words):
            fs.corruption_accuracy(reader, images, labels, **options)
    with pytest.raises(fs.FluoroscopeError, match="severity is 6; expected a whole number"):
        corrupt(images, "jpeg", 6)
    with pytest.raises(fs.FluoroscopeError, match="has the label 7"):
        fs.corruption_accuracy(reader, images, torch.tensor([0, 7]))
    many = pictures(40, 1)
    wrong = (fs.predict(reader, many).winners + 1) % 4
    with pytest.raises(fs.FluoroscopeError, match="no better than chance"):
        fs.corruption_accuracy(reader, many, wrong)


def test_mean_corruption_error_by_hand() -> None:
    names, size = [*FIFTEEN, *EXTRA], (224, 224)
    right = torch.rand(40, 1 + len(names) * 5, generator=torch.Generator().manual_seed(0)) < 0.3
    found = mean_corruption_error(right, names, SEVERITIES, size=size, photographs=True)
    assert found is not None
    clean = 1 - float(right[:, 0].double().mean())
    shares, falls = [], []
    for place, name in enumerate(FIFTEEN):
        cells = right[:, 1 + 5 * place : 6 + 5 * place]
        error = sum(1 - float(column.double().mean()) for column in cells.T)
        shares.append(error / (5 * ALEXNET[name]))
        falls.append((error - 5 * clean) / (5 * ALEXNET[name] - 5 * ALEXNET_CLEAN))
    assert found.mce == pytest.approx(sum(shares) / 15)
    assert found.relative == pytest.approx(sum(falls) / 15)
    assert found.interval[0] < found.mce < found.interval[1]
    assert found.name == "mCE"
    assert len(found.deviations) == 1
    other = mean_corruption_error(right, names, SEVERITIES, size=(128, 128), photographs=False)
    assert other is not None
    assert other.name == "mCE, not as published"
    assert [words.split()[0] for words in other.deviations] == ["made", "frost", "pictures"]
    few = right[:, : 1 + 14 * 5]
    assert (
        mean_corruption_error(few, list(FIFTEEN)[:14], SEVERITIES, size=size, photographs=True)
        is None
    )
    assert (
        mean_corruption_error(right[:, :46], list(FIFTEEN), (1, 3, 5), size=size, photographs=True)
        is None
    )


# AlexNet's errors at each severity, as timm lists them in its validation script.
EACH = {
    "gaussian-noise": (0.69528, 0.82542, 0.93554, 0.98138, 0.99452),
    "shot-noise": (0.71224, 0.85108, 0.93574, 0.98182, 0.99146),
    "impulse-noise": (0.78374, 0.89808, 0.94870, 0.98720, 0.99548),
    "defocus-blur": (0.65624, 0.73202, 0.85036, 0.91364, 0.94714),
    "glass-blur": (0.64308, 0.75054, 0.88806, 0.91622, 0.93344),
    "motion-blur": (0.58430, 0.70048, 0.82108, 0.89750, 0.92638),
    "zoom-blur": (0.70008, 0.76992, 0.80784, 0.84198, 0.87198),
    "snow": (0.71726, 0.88392, 0.86468, 0.91870, 0.94952),
    "frost": (0.61390, 0.79734, 0.88790, 0.89942, 0.93430),
    "fog": (0.67474, 0.76050, 0.84378, 0.87260, 0.94500),
    "brightness": (0.45140, 0.48502, 0.54048, 0.62166, 0.72440),
    "contrast": (0.64548, 0.76150, 0.88874, 0.97760, 0.99270),
    "elastic-transform": (0.52596, 0.70116, 0.55686, 0.64076, 0.80554),
    "pixelate": (0.52218, 0.54620, 0.73728, 0.87092, 0.91262),
    "jpeg": (0.51002, 0.54718, 0.57294, 0.65458, 0.74778),
}


def test_alexnet_has_the_published_errors() -> None:
    assert list(EACH) == list(ALEXNET) == list(FIFTEEN)
    for name, errors in EACH.items():
        assert ALEXNET[name] == pytest.approx(sum(errors) / 5, abs=1e-6)


class Thousand(nn.Module):
    """Tells bright pictures from dark ones, and calls them by the first two names of a thousand."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        light = images.mean((1, 2, 3))[:, None]
        rest = torch.zeros(len(images), 998) - 9
        return torch.cat((0.5 - light, light - 0.5, rest), 1)


def test_only_networks_of_imagenet_have_an_mce() -> None:
    from torchvision.models import ResNet18_Weights

    names = tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    images = pictures(2, side=24)
    settings_ = {"scale": "imagenet-c", "at_chance": True}

    model = fs.Classifier(Thousand(), input_size=24, labels=names)

    def table(**more: object) -> fs.CorruptionTable:
        true = fs.predict(model, images).winners
        return fs.corruption_accuracy(model, images, true, **(settings_ | more))  # type: ignore[arg-type]

    found = table()
    assert found.mce is not None
    assert found.describe()["mce"]["name"] == "mCE, not as published"
    assert any(note.startswith("mCE, not as published: made") for note in found.record["notes"])
    assert table(corruptions=["fog"]).mce is None
    assert table(scale="cifar-10-c").mce is None
    assert is_imagenet(("background", *names))
    assert not is_imagenet(names[::-1])
    assert not is_imagenet(tuple(f"class {n}" for n in range(1000)))
