"""Training a generator against a tiny network: what comes, alone as in a batch, after a kill."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine import randomness
from fluoroscope.errors import InvalidParameterError, ResultFormatError, UnknownLabelError
from fluoroscope.inversion.generator import conditioning as codes_of
from fluoroscope.inversion.generator import network_pass
from fluoroscope.inversion.generator.conditioning import CONDITIONINGS, conditioning
from fluoroscope.inversion.generator.invert import InversionRun
from fluoroscope.inversion.generator.network import GROWTHS, Generator, Shape, weights_of
from fluoroscope.inversion.generator.settings import SOURCES
from fluoroscope.models.layers import tapped

TINY: dict[str, Any] = {"steps": 4, "batch_size": 12, "features": 8, "noise": 8, "embedded": 8}


class Bars(nn.Module):
    """Three classes: where in a picture of 8 × 8 it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d((3, 1))
        self.head = nn.Linear(3, 3)
        self.head.weight.data = 12 * torch.eye(3) - 4
        self.head.bias.data.zero_()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(images.mean(1, keepdim=True)).flatten(1))
        return logits


def bars(channels: int = 1, size: int | tuple[int, int] = 8) -> fs.Classifier:
    return fs.Classifier(Bars(), channels=channels, input_size=size, labels=["top", "mid", "low"])


def wide(classes: int) -> fs.Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, classes))
    return fs.Classifier(module, channels=1, input_size=8)


@pytest.mark.parametrize("name", CONDITIONINGS)
def test_a_generator_learns_to_make_what_it_is_asked(name: str) -> None:
    # Of a soft code the divergence wants one thing and the label's cross-entropy another.
    soft = {"cross_entropy": 0, "cosine": 0} if name.startswith("vector") else {}
    found = fs.invert(
        bars(), conditioning=name, steps=50, batch_size=16, features=8, learning_rate=0.01, **soft
    )
    judged = found.record["judged"]
    assert judged["accuracy"] > (0.8 if soft else 0.99)
    assert judged["kl"] < found.curve[0]["kl"] / 2
    assert found.curve[-1]["loss"] < found.curve[0]["loss"]
    assert [row["step"] for row in found.curve] == list(range(1, 51))
    assert found.record["backwards"] == 50 * 16


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("name", ["label", "vector-matrix"])
def test_a_sample_is_the_same_alone_and_in_a_batch(name: str, norm: str) -> None:
    found = fs.invert(bars(), conditioning=name, norm=norm, **TINY)
    together = found.sample(n=5, seed=3)
    assert together.classes.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert together.images.min() >= 0
    assert together.images.max() <= 1
    alone = found.sample("mid", 3, seed=3)
    torch.testing.assert_close(alone.images, together.images[5:8])
    torch.testing.assert_close(alone.codes, together.codes[5:8])
    assert (together.codes.argmax(1) == together.classes).all()
    assert not torch.equal(found.sample("mid", 3, seed=4).images, alone.images)


def test_dropout_makes_the_pictures_of_a_class_differ() -> None:
    found = fs.invert(bars(), conditioning="label", dropout=0.5, **TINY)
    with_it, without = found.sample(0, 20), found.sample(0, 20, dropout=False)
    assert with_it.images.std(0).mean() > without.images.std(0).mean()
    kept = found.generator(
        found.generator.noise(torch.arange(2)), torch.zeros(2, dtype=torch.long), torch.eye(3)[:2]
    )
    assert kept.shape == (2, 1, 8, 8)


def test_spread_is_one_thing_and_a_class_of_one_picture_is_named() -> None:
    found = fs.invert(bars(), **TINY)
    judged = found.record["judged"]
    made = found.sample(n=judged["pictures"] // len(found.labels), seed=1)
    told = fs.inversion.assess(bars(), made.images, made.classes).of("pixel spread within a class")
    assert told.value is not None
    assert judged["spread"] == pytest.approx(told.value.value, rel=1e-6)
    assert judged["collapsed"] == []
    with torch.no_grad():
        for one in found.generator.parameters():
            one.zero_()
    assert found.judged(bars()).record["judged"]["collapsed"] == list(found.labels)


def test_what_there_is_is_completed_and_described() -> None:
    assert {"assess", "detection", "fit_prior", "preflight"} <= set(dir(fs.inversion))
    for one in (fs.invert, InversionRun):
        assert all(f"``{name}``" in (one.__doc__ or "") for name in SOURCES)


def test_a_training_that_was_broken_off_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = fs.invert(bars(), cosine=1, noisy_kl=0.5, total_variation=0.1, norm="batch", **TINY)
    options = {"cosine": 1, "noisy_kl": 0.5, "total_variation": 0.1, "norm": "batch", **TINY}
    place = tmp_path / "training.safetensors"
    run = InversionRun(bars(), checkpoint=place, **options)
    for step in run:
        if step.number == 2:
            run.cancel()
            break
    assert run.result.record["stopped"] == "broken off after step 2 of 4"
    went_on = InversionRun(bars(), checkpoint=place, **options)
    assert len(went_on) == 2
    assert [step.number for step in went_on] == [3, 4]
    ours, theirs = went_on.result.generator.state_dict(), whole.generator.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert went_on.result.curve == whole.curve
    assert [step.number for step in InversionRun(bars(), checkpoint=place, **options)] == []
    with pytest.raises(InvalidParameterError, match="left by another training"):
        InversionRun(bars(), checkpoint=place, **(options | {"steps": 5}))
    with pytest.raises(InvalidParameterError, match="no directory"):
        InversionRun(bars(), checkpoint=tmp_path / "no" / "file", **options)


@pytest.mark.filterwarnings("ignore:Sequential holds")
@pytest.mark.filterwarnings("ignore:1,000 classes are learnt in batches of 12")
@pytest.mark.parametrize("classes", [2, 32, 1000])
def test_few_classes_and_many(classes: int) -> None:
    model, few = wide(classes), TINY | {"steps": 2}
    for name in ("vector", "embedding", "matrix")[: 3 if classes <= 32 else 2]:
        found = fs.invert(model, conditioning=name, **few)
        assert found.sample([0, classes - 1], 2).codes.shape == (4, classes)
    assert fs.invert(model, **few).record["settings"]["conditioning"] in CONDITIONINGS
    if classes > 32:
        with pytest.raises(InvalidParameterError, match="expected at most 32"):
            fs.invert(model, conditioning="matrix", **TINY)


def test_an_embedding_tells_many_classes_apart_by_where_they_are() -> None:
    """By its scale and shift of channels alone 37 % of these pictures are predicted as asked."""
    drawn = torch.randn(60, 64, generator=torch.Generator().manual_seed(1)) * 0.75
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 60))
    module[1].weight.data, module[1].bias.data = drawn, -drawn.sum(1) / 2
    found = fs.invert(
        fs.Classifier(module, channels=1, input_size=8), conditioning="embedding", steps=60,
        batch_size=120, features=8, learning_rate=0.02, dropout=0, cosine=0, orthogonality=0,
    )  # fmt: skip
    assert found.record["judged"]["accuracy"] > 0.9


@pytest.mark.parametrize("growth", GROWTHS[:2])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 23), (2, 1, 40), (3, 224, 224)])
@pytest.mark.parametrize("classes", [2, 10, 32])
def test_any_shape_can_be_made(shape: tuple[int, int, int], growth: str, classes: int) -> None:
    told, _ = conditioning("matrix", classes)
    made = Generator(Shape(*shape, features=8, growth=growth), told)
    assert made.at_map is not None
    keys = torch.arange(2)
    codes = told.codes(keys, keys)
    with torch.no_grad():
        images = made(made.noise(keys), codes.classes, codes.asked, keys)
    assert images.shape == (2, *shape)


def test_the_labs_layers_are_those_of_its_notebook() -> None:
    told, _ = conditioning("vector-matrix", 10)
    shape = Shape(1, 28, 28, features=64, noise=100, embedded=100, growth="lab", norm="batch")
    made = Generator(shape, told)
    sides = [stage.size[0] for stage in made.stages]
    assert sides == [4, 7, 10, 11, 12, 24, 27]
    layers = [*(stage.convolve for stage in made.stages), made.last]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [
        (200, 64), (64, 128), (128, 256), (257, 512), (512, 256), (256, 128), (128, 64), (64, 1),
    ]  # fmt: skip
    maps = torch.rand(2, 200, 1, 1)
    for stage, side in zip(made.stages, sides, strict=True):
        taken = stage.convolve.in_channels
        maps = stage(torch.cat([maps, torch.rand(2, taken - maps.shape[1], *maps.shape[2:])], 1),
                     maps[:, :0], None)  # fmt: skip
        assert maps.shape[2:] == (side, side)


def test_the_hot_matrix_is_a_row_and_a_column() -> None:
    told, _ = conditioning("matrix", 4)
    (hot,) = told.map(torch.tensor([2]))[:, 0].tolist()
    assert hot == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 0, 1, 0]]


def test_soft_vectors_are_those_of_the_paper() -> None:
    told, notes = conditioning("vector", 10)
    assert notes == ()
    keys = randomness.keys(5, torch.arange(4000))
    codes = told.codes(torch.arange(4000) % 10, keys)
    assert (codes.asked.argmax(1) == codes.classes).all()
    torch.testing.assert_close(codes.asked.sum(1), torch.ones(4000))
    assert float(codes.asked.amax(1).mean()) == pytest.approx(0.321, abs=0.005)
    # All entries of a class's codes but its own are alike, as those of a softmax of normals are.
    others = codes.asked[codes.classes == 3].mean(0)
    others = torch.cat([others[:3], others[4:]])
    assert others.max() - others.min() < 0.02


def test_a_vector_of_many_classes_gets_a_temperature_and_says_so() -> None:
    told, notes = conditioning("vector", 1000)
    assert "was set to" in notes[0]
    assert "at 1 it would be 0.016" in notes[0]
    assert codes_of.mean_largest(1000, told.temperature) == pytest.approx(0.321, abs=1e-3)
    faint, notes = conditioning("vector", 1000, temperature=1)
    assert faint.temperature == 1
    assert "hardly carry a label" in notes[0]
    assert codes_of.mean_lead(10, 1.0) == pytest.approx(0.137, abs=0.01)
    sure, _ = conditioning("vector", 10, confidence=0.9)
    assert codes_of.mean_largest(10, sure.temperature) == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("growth", GROWTHS)
@pytest.mark.parametrize("name", CONDITIONINGS)
def test_weights_are_counted_before_they_are_made(growth: str, name: str) -> None:
    shape = Shape(1, 28, 28, features=64, noise=100, growth=growth)
    told = conditioning(name, 10)[0]
    made = sum(one.numel() for one in Generator(shape, told).parameters())
    assert weights_of(shape, told) == pytest.approx(made, rel=0.1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"features": 1_000_000}, "features is 1,000,000, with .* expected at most 200,000,000"),
        ({"noise": 1_000_000}, "noise 1,000,000 .* lower the largest"),
        ({"features": 10**400}, "features is more than 200,000,000; expected"),
        ({"embedded": 3 * 10**8}, "embedded is more than 200,000,000"),
        ({"features": 1500, "growth": "lab"}, "features is 1,500"),
    ],
)
def test_a_generator_beyond_memory_is_refused(given: dict[str, Any], words: str) -> None:
    lab = fs.Classifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), channels=1, input_size=28)
    with pytest.raises(InvalidParameterError, match=words):
        InversionRun(lab, **TINY | given)


def test_batches_grow_with_the_classes() -> None:
    few = TINY | {"steps": 1}
    del few["batch_size"]
    assert InversionRun(wide(256), **few).settings.batch_size == 64
    with pytest.warns(fs.FluoroscopeWarning, match="1,000 classes .* 256 pictures in place of 64"):
        run = InversionRun(wide(1000), **few)
    assert run.settings.batch_size == 256
    assert any("256 pictures" in note for note in run._notes)
    assert InversionRun(wide(1000), classes=range(100), **few).settings.batch_size == 64
    for given in ({"batch_size": 64}, {"preset": "paper"}):
        with pytest.warns(fs.FluoroscopeWarning, match="give batch_size=250 or more"):
            run = InversionRun(wide(1000), **few | given)
        assert run.settings.batch_size == 64


def test_memory_that_runs_out_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fs.invert(bars(), cosine=1, **TINY)
    evaluate, refused = network_pass.evaluate, []

    def small(model: Any, images: Tensor, *rest: Any, **options: Any) -> Any:
        if len(images) > 4:
            refused.append(len(images))
            raise torch.OutOfMemoryError
        return evaluate(model, images, *rest, **options)

    monkeypatch.setattr(network_pass, "evaluate", small)
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with (12|6) images at once"):
        pieces = fs.invert(bars(), cosine=1, **TINY)
    assert refused == [12, 6]
    for name, value in whole.generator.state_dict().items():
        torch.testing.assert_close(pieces.generator.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_sampling_goes_on_with_fewer_at_once_where_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = fs.invert(bars(), **TINY)
    whole, forward, asked = found.sample(n=11, seed=3), Generator.forward, []

    def small(self: Generator, noise: Tensor, *rest: Any) -> Tensor:
        asked.append(len(noise))
        if len(noise) > room:
            raise torch.OutOfMemoryError
        return forward(self, noise, *rest)

    monkeypatch.setattr(Generator, "forward", small)
    room = 10
    with pytest.warns(fs.FluoroscopeWarning, match="memory ran out with (33|16) samples at once"):
        pieces = found.sample(n=11, seed=3)
    assert asked == [33, 16, 8, 8, 8, 8, 1]
    torch.testing.assert_close(pieces.images, whole.images, rtol=1e-4, atol=1e-6)
    assert torch.equal(pieces.classes, whole.classes)
    assert torch.equal(pieces.codes, whole.codes)
    room = 0
    with pytest.raises(torch.OutOfMemoryError), pytest.warns(fs.FluoroscopeWarning):
        found.sample(n=1)


def test_a_number_that_is_none_stops_it_and_keeps_the_last_good_one(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    run = InversionRun(bars(), checkpoint=place, **TINY)
    steps = iter(run)
    assert [next(steps).number, next(steps).number] == [1, 2]
    run.fitting.keep()
    run.generator.last.bias.data.fill_(torch.nan)
    with pytest.raises(InvalidParameterError, match="pictures became nan at step 3") as found:
        next(steps)
    assert "lower learning_rate (0.002)" in str(found.value)
    assert f"the generator after step 2 stands in {place}" in str(found.value)
    assert InversionRun(bars(), checkpoint=place, **TINY).fitting.behind == 2
    place.unlink()

    class Breaks(Bars):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            type(self).calls += images.requires_grad
            return super().forward(images) * (1e30 if type(self).calls > 3 else 1)

    model = fs.Classifier(Breaks(), channels=1, input_size=8)
    with pytest.raises(InvalidParameterError, match=r"cross_entropy|weighted sum") as told:
        fs.invert(model, checkpoint=place, **(TINY | {"cross_entropy": 1e300, "kl": 0}))
    assert f"stands in {place}" in str(told.value)
    assert place.is_file()


def test_it_ends_early_when_nothing_gets_better() -> None:
    found = fs.invert(
        bars(), conditioning="label", patience=20, features=8, batch_size=12, steps=400,
        learning_rate=0.02, falling=False, dropout=0, cosine=0, orthogonality=0,
        cross_entropy=0, kl=1,
    )  # fmt: skip
    assert len(found.curve) < 400
    assert "in the last 20 steps neither the loss" in found.record["stopped"]
    assert found.record["stopped"] in found.notes


def test_it_goes_on_from_another_inversion() -> None:
    first = fs.invert(bars(), conditioning="label", **TINY)
    again = fs.invert(bars(), conditioning="label", start=first, **TINY)
    # A batch of its own begins where the other ended, not at a new generator's.
    assert again.curve[0]["loss"] != first.curve[0]["loss"]
    with pytest.raises(InvalidParameterError, match="has other layers"):
        fs.invert(bars(), conditioning="one-hot", start=first, **TINY)


def test_some_classes_alone() -> None:
    found = fs.invert(bars(), classes=["low", "top"], **TINY)
    assert found.sample().classes.tolist() == [2, 0]
    with pytest.raises(InvalidParameterError, match="mid is no class that this generator learnt"):
        found.sample("mid")
    with pytest.raises(InvalidParameterError, match="low is given twice"):
        found.sample(["low", "low"])
    with pytest.raises(UnknownLabelError):
        found.sample("side")


class Functional(nn.Module):
    """Makes its logits outside of any layer."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.weight = nn.AdaptiveAvgPool2d(3), nn.Parameter(torch.randn(3, 9))

    def forward(self, images: Tensor) -> Tensor:
        return self.pool(images).flatten(1) @ self.weight.T


def test_a_network_without_a_feature_layer_is_told_of_candidates() -> None:
    model = fs.Classifier(Functional(), channels=1, input_size=8)
    with pytest.raises(InvalidParameterError, match="expected layer='NAME', one of pool"):
        fs.invert(model, **TINY)
    assert fs.invert(model, layer="pool", **TINY).record["features"] == ["pool"]
    assert fs.invert(model, cosine=0, orthogonality=0, **TINY).record["features"] == []
    with pytest.raises(InvalidParameterError, match="does not end in a linear layer"):
        fs.invert(model, layer="pool", gradient_penalty=1, **TINY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"conditioning": "word"}, "conditioning is 'word'; expected one of label"),
        ({"preset": "theirs"}, "preset is 'theirs'"),
        ({"colour": 1}, "colour is no setting of a generator; expected one of"),
        ({"kl": 0, "cross_entropy": 0}, "are all 0"),
        ({"temperature": 2}, "temperature is 2, but conditioning 'matrix' has none"),
        ({"conditioning": "vector", "temperature": 0}, "temperature is 0"),
        ({"conditioning": "vector", "confidence": 0.2}, "expected a share between 0.333"),
        ({"dropout": 1}, "dropout is 1; expected a share"),
        ({"batch_size": 1}, "batch_size is 1; expected 2 or more"),
        ({"growth": "wild"}, "growth is 'wild'"),
        ({"steps": 0}, "steps is 0"),
        ({"size": (8, 0)}, "size is"),
        ({"classes": []}, "classes is empty"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParameterError, match=said) as found:
        fs.invert(bars(), **(TINY | options))
    assert "\n" not in str(found.value)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    model = bars()
    made = fs.invert(model, conditioning="vector-matrix", norm="batch", **TINY)
    assert [path.name for path in made.save(tmp_path)] == [
        "generator.safetensors", "generator.json",
    ]  # fmt: skip
    found = fs.Inversion.load(tmp_path, model)
    torch.testing.assert_close(found.sample(n=3).images, made.sample(n=3).images, rtol=0, atol=0)
    assert found.describe() == made.describe()
    assert found.curve == made.curve
    assert "top" in found._repr_html_()
    with pytest.raises(InvalidParameterError, match="for another network"):
        fs.Inversion.load(tmp_path, wide(3))
    (tmp_path / "generator.json").write_text("{}")
    with pytest.raises(ResultFormatError, match="holds no generator"):
        fs.Inversion.load(tmp_path)


def test_presets_say_where_their_numbers_come_from() -> None:
    for preset in ("paper", "lab"):
        found = fs.invert(bars(), preset=preset, steps=1, batch_size=4, features=4)
        assert found.record["source"]
        assert found.record["settings"]["dropout"] > 0
    assert "28 × 28 pictures of 10 classes" in " ".join(found.notes)


def _within(features: Tensor, each: int) -> float:
    """The mean cosine between pictures of a class, of features ``(classes * each, D)``."""
    units = torch.nn.functional.normalize(features.unflatten(0, (-1, each)), dim=2)
    gram = units @ units.mT
    return float((gram.sum((1, 2)) - each).mean() / (each * (each - 1)))


def test_the_papers_orderings_hold_on_a_small_budget() -> None:
    """A label gives the least variety and a soft vector the most; dropout is a source of it."""
    model, each = fs.load_model("digits-cnn"), 12
    cosine = {}
    for name in ("label", "matrix", "vector"):
        found = fs.invert(
            model, conditioning=name, steps=25, batch_size=24, features=8, learning_rate=5e-3,
            within=False, cosine=0.5,
        )  # fmt: skip
        made, still = found.sample(n=each), found.sample(n=each, dropout=False)
        with tapped(model, "9", given=True) as kept:
            model(made.images)
        cosine[name] = _within(kept[0].detach(), each)
        spread, less = (one.images.unflatten(0, (-1, each)).std(1) for one in (made, still))
        assert less.mean() < spread.mean()
    assert cosine["label"] > cosine["matrix"] > cosine["vector"]
