"""Train, invert, exclude: the loop, what it goes on from, and how well strangers are told."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.separation import separation
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, ModelFormatError
from fluoroscope.inversion.exclusion import garbage as garbage_module
from fluoroscope.inversion.exclusion.detection import oddness
from fluoroscope.inversion.exclusion.exclude import Excluding, Exclusion, ExclusionRecipe
from fluoroscope.inversion.exclusion.garbage import Garbage, Inverting
from fluoroscope.inversion.exclusion.uncertainty import uncertainty
from fluoroscope.inversion.generator.settings import Settings
from fluoroscope.training.trainer import books
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Moment

SMALL = Inverting(
    noise=6, inverted=4, steps=2, batch_size=4,
    generator=Settings(features=8, noise=4, embedded=4),
)  # fmt: skip
RECIPE = ExclusionRecipe(Recipe(epochs=3, batch_size=8, learning_rate=0.01), SMALL)
NOW = Moment(torch.arange(4), 1, 0.5, 0)


def network(outputs: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, outputs)
    )


def bars() -> tuple[Tensor, Tensor]:
    """Three places of a bright bar, 24 pictures."""
    labels = torch.arange(24) % 3
    images = torch.zeros(24, 1, 8, 8, dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row, 0, :, 2 * label + 1] = 200 + row
    return images, labels


# The numbers


def test_uncertainty_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    rows = torch.randn(5, 7).softmax(1)
    for row, found in zip(rows.double().tolist(), uncertainty(rows).tolist(), strict=True):
        winner = max(range(7), key=row.__getitem__)
        above = sum((p - 1 / 7) ** 2 for p in row)
        below = sum(((i == winner) - 1 / 7) ** 2 for i in range(7))
        assert below == pytest.approx(6 / 7)
        assert found == pytest.approx(1 - above / below, abs=1e-9)
    assert uncertainty(torch.eye(4)).tolist() == pytest.approx([0] * 4)
    assert float(uncertainty(torch.full((1, 4), 0.25))) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_separation_beside_scikit_learn(seed: int) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    torch.manual_seed(seed)
    inside, outside = torch.randn(61), torch.randn(40) + seed / 2
    if seed % 2:  # ties
        inside, outside = inside.round(), outside.round()
    found = separation(inside, outside)
    truth = [1] * 61 + [0] * 40  # familiar is what is to be accepted
    scores = (-torch.cat([inside, outside])).tolist()
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores))
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found.fpr95 == pytest.approx(
        next(f for f, t in zip(false, true, strict=True) if t >= 0.95)
    )


def test_the_interval_of_auroc_is_delongs() -> None:
    inside, outside = torch.tensor([0.1, 0.4, 0.3]), torch.tensor([0.2, 0.9])
    over = [[(b > a) + 0.5 * (b == a) for b in outside.tolist()] for a in inside.tolist()]
    rows = [sum(row) / 2 for row in over]
    columns = [sum(row[k] for row in over) / 3 for k in range(2)]

    def variance(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return sum((v - mean) ** 2 for v in values) / (len(values) - 1)

    auroc = sum(rows) / 3
    reach = 1.959963985 * math.sqrt(variance(rows) / 3 + variance(columns) / 2)
    found = separation(inside, outside)
    assert found.auroc == pytest.approx(auroc)
    assert found.interval == pytest.approx((max(0, auroc - reach), min(1, auroc + reach)))


def test_what_has_no_separation() -> None:
    with pytest.raises(fs.FluoroscopeError, match="inside holds no numbers"):
        separation(torch.tensor([]), torch.ones(2))
    with pytest.raises(fs.FluoroscopeError, match="outside holds numbers that are not finite"):
        separation(torch.ones(2), torch.tensor([float("nan")]))
    with pytest.raises(fs.FluoroscopeError, match="add up to 1"):
        uncertainty(torch.ones(1, 3))
    with pytest.raises(fs.FluoroscopeError, match="K of 2"):
        uncertainty(torch.ones(3, 1))


def test_the_class_for_none_is_no_class_of_the_baseline() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.1, 0.7]]))
    with_none, without = oddness(logits, 2), oddness(logits, None)
    assert float(with_none["msp"]) == pytest.approx(0.8)
    assert float(with_none["garbage"]) == pytest.approx(0.7)
    assert float(without["msp"]) == pytest.approx(0.3)
    assert "garbage" not in without


def test_detection_counts() -> None:
    class Says(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return 10 * nn.functional.one_hot((images[:, 0, 0, 0] * 4).round().long(), 4).float()

    model = fs.Classifier(Says(), labels=("a", "b", "c", "none of these"), channels=1, input_size=2)
    inside = torch.tensor([0, 1, 2, 3, 0]).view(-1, 1, 1, 1).expand(5, 1, 2, 2) / 4
    elsewhere = torch.tensor([3, 3, 3, 1]).view(-1, 1, 1, 1).expand(4, 1, 2, 2) / 4
    found = fs.inversion.detection(model, (inside, [0, 1, 2, 2, 1]), {"elsewhere": elsewhere})
    assert found.accuracy is not None
    assert found.excluded is not None
    assert (found.accuracy.many, found.accuracy.of) == (3, 5)
    assert found.excluded.many == 1
    (one,) = found.outside
    assert one.excluded is not None
    assert one.excluded.many == 3
    # 12 of 20 pairs are odder, and 4 + 3 of them even.
    assert one.scores["garbage"].auroc == pytest.approx((3 * 4 + 0.5 * (3 + 4)) / 20)
    assert json.loads(json.dumps(found.describe()))["outside"][0]["name"] == "elsewhere"
    assert "elsewhere" in found._repr_html_()
    plain = fs.inversion.detection(fs.Classifier(Says(), channels=1, input_size=2), inside,
                                   elsewhere)  # fmt: skip
    assert plain.excluded is None
    assert "garbage" not in plain.outside[0].scores
    with pytest.raises(fs.FluoroscopeError, match="outside holds no pictures"):
        fs.inversion.detection(model, inside, {})
    with pytest.raises(InvalidImagesError, match="outside 'x'"):
        fs.inversion.detection(model, inside, {"x": torch.rand(2, 3, 2, 2)})


# The loop


def test_a_batch_brings_its_share_and_classes_count_the_same() -> None:
    images, labels = bars()
    made = Exclusion(network(), images, labels, RECIPE, 0, None)
    garbage = made.garbage
    assert len(garbage) == 6
    uneven = Excluding(SMALL, (2, 1, 5), garbage)
    seen: list[Tensor] = []

    def module(batch: Tensor) -> Tensor:
        seen.append(batch)
        return torch.linspace(-1, 1, 4).repeat(len(batch), 1) + batch.mean((1, 2, 3))[:, None] * 0

    batch, classes = images[:4].float() / 255, torch.tensor([0, 2, 2, 1])
    value, logits = uneven(module, batch, classes, NOW)  # type: ignore[arg-type]
    assert logits.shape == (4, 4)
    (all_,) = seen
    assert len(all_) == 4 + 3  # 6 of garbage beside 8 pictures
    known = {tuple(one.flatten().tolist()) for one in garbage.pictures}
    assert all(tuple((255 * one).round().byte().flatten().tolist()) in known for one in all_[4:])
    # Each class weighs the other way round as it comes: 2, 1, 5 and 6.
    logs = torch.linspace(-1, 1, 4).log_softmax(0)
    weights = [1 / 2, 1, 1 / 5, 1 / 6]
    asked = [0, 2, 2, 1, 3, 3, 3]
    expected = -sum(weights[k] * logs[k] for k in asked) / sum(weights[k] for k in asked)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_noise_first_and_inverted_pictures_after_every_epoch_but_the_last() -> None:
    images, labels = bars()
    module = network()
    made = Exclusion(module, images, labels, RECIPE, 0, None)
    noise = made.garbage.pictures.float() / 255
    assert noise.std() > 0.1
    many = [len(made.garbage)]
    for step in made.steps((images, labels)):
        if step.held_out is not None:
            many.append(len(made.garbage))
    assert many == [6, 6 + 12, 6 + 24, 6 + 24]
    assert not torch.equal(made.garbage.pictures[6:18], made.garbage.pictures[18:])
    assert not any(part.training for part in made.garbage.generator.modules())


def test_it_asks_for_the_classes_and_not_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    real = garbage_module.Fitting

    def watched(model: Any, generator: Any, settings: Any, classes: Tensor, *more: Any) -> Any:
        asked.append(classes)
        assert generator.conditioning.count == 4  # the softmax is over all outputs
        return real(model, generator, settings, classes, *more)

    monkeypatch.setattr(garbage_module, "Fitting", watched)
    images, labels = bars()
    fs.inversion.exclude(network(), images, labels, RECIPE)
    assert [one.tolist() for one in asked] == [[0, 1, 2]] * 2


def test_it_learns_to_exclude_what_it_took_for_its_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, labels = bars()
    module = network()
    recipe = ExclusionRecipe(
        Recipe(epochs=12, batch_size=8, learning_rate=0.02),
        Inverting(noise=24, inverted=8, steps=16, batch_size=12, generator=SMALL.generator),
    )
    made = Exclusion(module, images, labels, recipe, 0, None)
    invert, before = Garbage.invert, []

    def excluded(pictures: Tensor) -> float:
        with torch.no_grad():
            return float((module(pictures / 255).argmax(1) == 3).float().mean())

    def watched(self: Garbage, network: nn.Module, epoch: int) -> Any:
        found = invert(self, network, epoch)
        before.append(excluded(self.pictures[-24:]))
        return found

    monkeypatch.setattr(Garbage, "invert", watched)
    *_, last = made.steps((images, labels))
    assert last.held_out == 1.0
    after = [excluded(each) for each in made.garbage.pictures[24:].split(24)]
    assert sum(after) / 11 > sum(before) / 11 + 0.3


def weights(module: nn.Module) -> list[Tensor]:
    return [one.clone() for one in module.state_dict().values()]


@pytest.mark.parametrize("stop", [2, 3, 4, 6, 8, 9])
def test_broken_off_it_goes_on_to_the_same_weights(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "CHECKPOINT_EVERY", 0.0)
    images, labels = bars()
    whole = network()
    fs.inversion.exclude(whole, images, labels, RECIPE, seed=5)
    broken = network()
    path = tmp_path / "a.checkpoint.safetensors"
    for step in fs.inversion.exclude_stream(
        broken, images, labels, RECIPE, seed=5, checkpoint=path
    ):
        if step.number == stop:
            break
    torch.rand(3)
    again = network()
    torch.nn.init.zeros_(again[3].weight)
    fs.inversion.exclude(again, images, labels, RECIPE, seed=5, checkpoint=path)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def test_killed_between_the_checkpoint_and_the_inversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = bars()
    path = tmp_path / "a.checkpoint.safetensors"
    whole = network()
    fs.inversion.exclude(whole, images, labels, RECIPE)

    def die(self: Garbage, module: nn.Module, epoch: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Garbage, "invert", die)
        with pytest.raises(KeyboardInterrupt):
            fs.inversion.exclude(network(), images, labels, RECIPE, checkpoint=path)
    again = network()
    fs.inversion.exclude(again, images, labels, RECIPE, checkpoint=path)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


def test_files_of_another_training_are_refused(tmp_path: Path) -> None:
    images, labels = bars()
    path = tmp_path / "a.checkpoint.safetensors"
    fs.inversion.exclude(network(), images, labels, RECIPE, checkpoint=path)
    beside = tmp_path / "a.garbage.safetensors"
    assert beside.is_file()
    more = ExclusionRecipe(RECIPE.training, Inverting(noise=7, inverted=4, steps=2, batch_size=4,
                                                      generator=SMALL.generator))  # fmt: skip
    with pytest.raises(InvalidParameterError, match="another training"):
        fs.inversion.exclude(network(), images, labels, more, checkpoint=path)
    kept = beside.read_bytes()
    beside.write_bytes(kept[:-40] + b"x" * 40)
    with pytest.raises(ModelFormatError, match="cannot be read as the pictures"):
        fs.inversion.exclude(network(), images, labels, RECIPE, checkpoint=path)
    beside.unlink()
    with pytest.raises(InvalidParameterError, match="files of one training"):
        fs.inversion.exclude(network(), images, labels, RECIPE, checkpoint=path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"noise": 0}, "noise is 0"),
        ({"inverted": 1.5}, "inverted is 1.5"),
        ({"steps": 0}, "steps is 0"),
        ({"batch_size": 1}, "batch_size is 1"),
    ],
)
def test_what_cannot_be_inverted(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidParameterError, match=says):
        Inverting(**settings)


def test_mistakes_in_a_sentence() -> None:
    images, labels = bars()
    many = ExclusionRecipe(RECIPE.training, Inverting(inverted=10**8))
    with pytest.raises(InvalidParameterError, match="pictures to exclude would take"):
        fs.inversion.exclude(network(), images, labels, many)
    with pytest.raises(InvalidParameterError, match="outputs"):
        fs.inversion.exclude(network(3), images, labels, RECIPE)
    with pytest.raises(InvalidParameterError, match="labels go from -1"):
        fs.inversion.exclude(network(), images, labels - 1, RECIPE)


def test_labels_that_a_file_states_otherwise_are_no_more_than_a_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    for number, stated in enumerate(('["a"]', "{}", '"none of these"')):
        path = tmp_path / f"{number}.safetensors"
        save_file(module.state_dict(), path, {"labels": stated})
        assert fs.load_model("digits-linear", checkpoint=path).labels == tuple("0123456789")
    path = tmp_path / "broken.safetensors"
    save_file(module.state_dict(), path, {"labels": "["})
    with pytest.raises(ModelFormatError, match="cannot be read as weights"):
        fs.load_model("digits-linear", checkpoint=path)
