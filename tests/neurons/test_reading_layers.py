"""Reading layers: every number is what a plain hook sees, whatever the network is like."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.data.sources import ArraySource
from fluoroscope.models.layers import find_layer
from fluoroscope.neurons.reading.activations import Activations


class Odd(nn.Module):
    """A batch norm before a ReLU in place, which is used twice; attention over places; a head."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.again = nn.Conv2d(6, 6, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.tokens = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        found = self.relu(self.norm(self.conv(images)))
        found = self.relu(self.again(found)).flatten(2).transpose(1, 2)
        found = self.tokens(self.drop(found))
        head: Tensor = self.head(found.mean(1))
        return head


class PerPicture(nn.Module):
    """Takes but one number of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Odd(1)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.inner(images.reshape(4, 1, 6, 10))
        return found


def seen(
    model: fs.Classifier, images: Tensor, name: str, reduce: Callable[[Tensor], Tensor],
    call: int = -1, at_once: int = 1,
) -> Tensor:  # fmt: skip
    """The slow way: a hook that clones, one picture after the other."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept.append((output[0] if isinstance(output, tuple) else output).clone())

    rows = []
    hook = find_layer(model, name).register_forward_hook(keep)
    try:
        for each in images.split(at_once):
            kept.clear()
            with torch.no_grad():
                model(each)
            rows.append(reduce(kept[call].float()))
    finally:
        hook.remove()
    return torch.cat(rows)


@pytest.fixture(scope="module")
def odd() -> fs.Classifier:
    torch.manual_seed(0)
    module = Odd().train()  # its batch norm and dropout are in evaluation mode meanwhile
    module.norm.running_mean = torch.randn(6)
    return fs.Classifier(module, input_size=(6, 10), channels=3)


PICTURES = torch.rand(11, 3, 6, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("name", "call", "reduction", "reduce"),
    [
        ("conv", None, "mean", lambda each: each.mean((2, 3))),
        ("norm", None, "mean", lambda each: each.mean((2, 3))),
        ("norm", None, "max", lambda each: each.amax((2, 3))),
        ("norm", None, "2,7", lambda each: each[:, :, 2, 7]),
        ("relu", 0, "mean", lambda each: each.mean((2, 3))),
        ("relu", 1, "mean", lambda each: each.mean((2, 3))),
        ("tokens", None, "max", lambda each: each.amax(1)),
        ("tokens", None, "2,7", lambda each: each[:, 27]),
        ("tokens.linear1", None, "27", lambda each: each[:, 27]),
        ("head", None, "max", lambda each: each),
    ],
)
def test_numbers_are_those_of_a_hook(
    odd: fs.Classifier, name: str, call: int | None, reduction: str,
    reduce: Callable[[Tensor], Tensor],
) -> None:  # fmt: skip
    found = fs.neurons.read(odd, PICTURES, name, call=call, reduction=reduction, batch_size=4)
    wanted = seen(odd, PICTURES, name, reduce, -1 if call is None else call)
    np.testing.assert_allclose(found.values, wanted, atol=1e-5)
    assert (found.labels == -1).all()
    assert odd.module.training


def test_what_a_relu_in_place_overwrites_is_read_before(odd: fs.Classifier) -> None:
    found = fs.neurons.read(odd, PICTURES, "norm", reduction="0,0")
    assert found.values.min() < -0.1
    assert fs.neurons.read(odd, PICTURES, "relu", reduction="0,0").values.min() == 0


def test_the_network_answers_as_it_does_alone(odd: fs.Classifier) -> None:
    found = fs.neurons.read(odd, (PICTURES, [0, 1, 2, 3] * 2 + [0, 1, 2]), "again")
    said = fs.predict(odd, PICTURES)
    assert found.predicted.tolist() == said.winners.tolist()
    np.testing.assert_allclose(found.confidence, said.probabilities.amax(1), atol=1e-6)
    assert found.labels.tolist() == [0, 1, 2, 3] * 2 + [0, 1, 2]
    assert found.indices.tolist() == list(range(11))
    assert len(found.names) == 11


def test_a_network_of_one_batch_size_and_one_channel() -> None:
    module = PerPicture()
    model = fs.Classifier(module.eval(), input_size=(6, 10), channels=1)
    images = PICTURES[:, :1]
    assert model(images).shape == (11, 4)
    assert model.batch_size == 4
    found = fs.neurons.read(model, images, "inner.again", batch_size=5)
    four = torch.cat([images, images[:1]])
    wanted = seen(model, four, "inner.again", lambda each: each.mean((2, 3)), at_once=4)[:11]
    np.testing.assert_allclose(found.values, wanted, atol=1e-5)


def test_several_layers_take_one_pass(odd: fs.Classifier) -> None:
    passes = []
    hook = odd.module.register_forward_hook(lambda *_: passes.append(1))
    try:
        both = fs.neurons.read_layers(odd, PICTURES, ["norm", "head"], batch_size=11)
        many = len(passes)
        fs.neurons.read_layers(odd, PICTURES, ["norm", "head", "conv"], batch_size=11)
    finally:
        hook.remove()
    assert len(passes) - many == many + 1  # one to find the units of another layer
    for name, found in zip(("norm", "head"), both, strict=True):
        np.testing.assert_array_equal(
            found.values, fs.neurons.read(odd, PICTURES, name, batch_size=11).values
        )


def test_on_disk_it_is_the_same(odd: fs.Classifier, tmp_path: Path) -> None:
    data = fs.load_images(PICTURES, labels=["0", "1"] * 5 + ["3"])
    kept = fs.neurons.read(odd, data, "norm", out=tmp_path)
    memory = fs.neurons.read(odd, data, "norm")
    again = Activations.open(tmp_path, odd, data)
    for each in (kept, again):
        np.testing.assert_array_equal(each.values, memory.values)
        assert each.rows.equals(memory.rows)
        assert each.units == memory.units
    assert isinstance(again.values, np.memmap)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "activations.json", "activations.npy", "rows.parquet",
    ]  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "activations.npy"), memory.values)


def named(names: tuple[str, ...]) -> fs.Classifier:
    torch.manual_seed(0)
    return fs.Classifier(Odd().eval(), input_size=(6, 10), channels=3, labels=names)


def test_labels_and_targets_are_in_the_networks_numbering() -> None:
    model = named(("cat", "dog", "eel", "fox"))
    words = ["dog", "fox", "cat"]
    data = fs.load_images(
        PICTURES[:3], labels=words,
        columns={"target": ["fox", None, "dog"], "source": [7, None, 0]},
    )  # fmt: skip
    found = fs.neurons.read(model, data, "conv")
    assert found.labels.tolist() == [1, 3, 0]
    assert found.targets.tolist() == [3, -1, 1]
    assert found.sources.tolist() == [7, -1, 0]
    numbers = fs.load_images(PICTURES[:3], labels=[1, 3, 0], columns={"target": [3, 0, 2]})
    assert fs.neurons.read(model, numbers, "conv").targets.tolist() == [3, 0, 2]
    # A column of that name that speaks of something else.
    other = fs.load_images(PICTURES[:3], labels=[1, 3, 0], columns={"source": ["web", "", "web"]})
    assert fs.neurons.read(model, other, "conv").sources.tolist() == [-1] * 3


def test_labels_that_are_not_the_networks_are_told_of() -> None:
    model = named(("cat", "dog", "eel", "fox"))
    strange = fs.load_images(PICTURES[:3], labels=["ant", "bee", "ant"])
    found = fs.neurons.read(model, strange, "conv")
    assert found.labels.tolist() == [-1] * 3
    assert any(note.startswith("labels and targets of array are not used") for note in found.notes)
    many = fs.load_images(PICTURES[:3], labels=[1, 9, 0])
    assert fs.neurons.read(model, many, "conv").labels.tolist() == [-1] * 3
    hidden = ArraySource(PICTURES[:3], "array", torch.tensor([1, -1, 0]))
    some = fs.neurons.read(model, fs.ImageSet(hidden, "array", channels=3), "conv")
    assert some.labels.tolist() == [1, -1, 0]


class Counts(Odd):
    """Two layers that give out no units: whole numbers, and one number for all pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.one, self.unused = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        self.whole((images > 0.5).long())
        self.one(images.sum())
        return super().forward(images)


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"layer": "whole"}, r"gives out \(3, 6, 10\) of int64 .* no units can be told"),
        ({"layer": "one"}, r"gave out \(\) for 1 image; expected one tensor"),
        ({"layer": "unused"}, "was not used, or gave out no tensor; choose another"),
        ({"layer": "agian"}, "layer is 'agian', which Counts does not have; did you mean again"),
        ({"layer": "relu", "call": 2}, "call is 2, and the layer 'relu' of Counts is used 2 times"),
        ({"layer": "conv", "reduction": "6,0"}, r"reduction is 6,0, and .* up to 5,9"),
        ({"layer": "head", "reduction": "1,0"}, "reduction is 1,0, and a unit .* a single place"),
        ({"layer": "head", "reduction": "17"}, "reduction is 17, .* mean, max or 0"),
        ({"layer": "conv", "reduction": "1,2,3"}, "reduction is 1,2,3; expected mean, max"),
        ({"layer": "conv", "batch_size": 0}, "batch_size is 0"),
    ],
)
def test_refusals(given: dict[str, Any], refusal: str) -> None:
    model = fs.Classifier(Counts().eval(), input_size=(6, 10), channels=3)
    with pytest.raises(fs.FluoroscopeError, match=refusal):
        fs.neurons.read(model, PICTURES, **given)


def test_no_pictures_and_no_layers(odd: fs.Classifier) -> None:
    with pytest.raises(fs.FluoroscopeError, match="has no pictures; expected 1 or more"):
        fs.neurons.read(odd, fs.load_images(PICTURES).select([]), "conv")
    with pytest.raises(fs.FluoroscopeError, match="layers is empty"):
        fs.neurons.read_layers(odd, PICTURES, [])
    with pytest.raises(fs.FluoroscopeError, match="outs names 1 directory for 2 layers"):
        fs.neurons.read_layers(odd, PICTURES, ["conv", "norm"], outs=["here"])
