"""Root finding for counterfeits, certificates, and their table."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.inversion.generator.certificate import Judges
from fluoroscope.inversion.generator.counterfeit_result import FROM_NOISE, FROM_OTHERS, NOISE, REAL
from fluoroscope.inversion.generator.counterfeits import (
    counterfeits,
    each_class,
)
from fluoroscope.inversion.generator.null_space import RIVALS, TOLERANCE, leads_like, same_answer


def linear(pixels: int = 16, classes: int = 4) -> fs.Classifier:
    module = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    return fs.Classifier(module.double(), channels=1, input_size=(4, 4))


def test_on_a_linear_network_one_step_lands_on_the_nearest_root_and_keeps_the_null_space() -> None:
    model = linear()
    starts = 0.5 + 0.02 * torch.randn(3, 1, 4, 4, dtype=torch.double)
    exemplars = 0.5 + 0.02 * torch.randn(3, 1, 4, 4, dtype=torch.double)
    classes = torch.tensor([0, 1, 3])
    found = same_answer(model, starts, exemplars, classes)
    assert bool(found.reached.all())
    assert found.steps.tolist() == [2, 2, 2]  # the start, and the root
    # The slow way: least squares on differences of the weights' rows, by the pseudo-inverse.
    weights = model.module[1].weight.detach()
    for row in range(3):
        leads = weights[classes[row]] - weights
        missing = leads @ (exemplars - starts)[row].flatten()
        wanted = torch.linalg.pinv(leads) @ missing
        torch.testing.assert_close(
            (found.images - starts)[row].flatten(), wanted, atol=1e-5, rtol=1e-4
        )


def test_the_box_is_never_left_and_the_rest_makes_up_for_pixels_that_stand_at_its_end() -> None:
    model = linear()
    starts = torch.rand(8, 1, 4, 4, dtype=torch.double).round()  # every pixel stands at an end
    exemplars = 0.4 + 0.2 * torch.rand(8, 1, 4, 4, dtype=torch.double)
    found = same_answer(model, starts, exemplars, torch.arange(8) % 4)
    assert 0 <= float(found.images.min()) <= float(found.images.max()) <= 1
    assert bool(found.reached.all())


def test_what_is_reached_has_the_real_pictures_probabilities() -> None:
    model = fs.load_model("digits-cnn")
    images = fs.load_images("digits", channels=1)
    batch = next(images.batches(12, fit=model.preprocessing))
    found = same_answer(model, torch.rand(12, 1, 28, 28), batch.images, batch.labels)
    assert bool(found.reached.all())
    assert float(found.residual.max()) <= TOLERANCE
    ours, theirs = (fs.predict(model, one).probabilities for one in (found.images, batch.images))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)
    alone = same_answer(model, *(one[:1] for one in (batch.images + 0, batch.images, batch.labels)))
    assert alone.steps.tolist() == [1]  # a picture has its own answer


def test_of_many_classes_the_strongest_rivals_are_held_and_the_others_together() -> None:
    wanted = torch.randn(2, 40, dtype=torch.double)
    classes = torch.tensor([3, 39])
    leads = leads_like(wanted, classes)
    assert leads(wanted, classes).shape == (2, RIVALS + 1)
    assert float(leads(wanted + 5, classes).abs().max()) < 1e-9  # a constant changes no answer
    # The weakest rivals may change places: the class's probability is the same all the same.
    moved = wanted.clone()
    for row in range(2):
        weak = wanted[row].argsort()[:2]
        weak = weak[weak != classes[row]]
        moved[row, weak] = wanted[row, weak.flip(0)]
    assert float(leads(moved, classes).abs().max()) < 1e-9
    assert not torch.equal(moved, wanted)


def _digits(count: int) -> tuple[fs.Classifier, Tensor, Tensor]:
    model = fs.load_model("digits-cnn")
    batch = next(fs.load_images("digits", channels=1).batches(count, fit=model.preprocessing))
    return model, batch.images, batch.labels


def test_a_certificate_says_of_each_picture_what_can_be_checked_by_hand() -> None:
    model, images, labels = _digits(60)
    second = fs.load_model("digits-robust")
    judges = Judges(model, real=images[:40], second=second)
    made = torch.cat([images[40:44], torch.rand(2, 1, 28, 28), images[:1]])
    asked = torch.cat([labels[40:44], torch.tensor([3, 3]), labels[:1]])
    found = judges.certify(made, asked)
    apart = torch.cdist(images[:40].flatten(1), images[:40].flatten(1)).fill_diagonal_(torch.inf)
    unit = apart.amin(1).quantile(0.5)
    far = torch.cdist(made.flatten(1), images[:40].flatten(1)).amin(1)
    assert found.ratio is not None
    assert found.far is not None
    torch.testing.assert_close(found.ratio, far / unit, atol=2e-3, rtol=1e-4)  # cdist rounds
    # Of patterns the nearest is the one that correlates most.
    shapes = images[:40].flatten(1).numpy()
    among = np.corrcoef(shapes)
    np.fill_diagonal(among, -1)
    own = np.sqrt(2 - 2 * among.max(1))
    alike = np.corrcoef(made.flatten(1).numpy(), shapes)[:7, 7:].max(1).clip(max=1)
    patterns = np.sqrt(2 - 2 * alike)
    assert found.pattern_ratio is not None
    np.testing.assert_allclose(found.pattern_ratio, patterns / np.median(own), atol=2e-3)
    # Far is what is more unusual, of both, than 99 % of real ones are.
    in_pixels = apart.amin(1)
    edges = float(in_pixels.quantile(0.99)), np.quantile(own, 0.99)
    line = np.quantile(np.maximum(in_pixels.numpy() / edges[0], own / edges[1]), 0.99)
    unusual = np.maximum(far.numpy() / edges[0], patterns / edges[1])
    assert found.far.tolist() == (unusual > line).tolist()
    assert found.far[4:6].tolist() == [True, True]
    assert float(found.ratio[6]) == 0  # a copy
    own = judges.certify(images[:1], labels[:1], real=True)
    assert float(own.ratio) == pytest.approx(float(apart[0].amin() / unit), rel=1e-4)  # type: ignore[arg-type]
    said = fs.predict(model, made).probabilities[torch.arange(7), asked]
    torch.testing.assert_close(found.confidence, said)
    assert found.second is not None
    assert found.second.tolist() == fs.predict(second, made).winners.tolist()
    assert found.second_ratio is not None
    assert float(found.second_ratio[6]) == pytest.approx(0, abs=1e-6)


def test_pale_noise_is_far_from_pictures_though_it_is_nearer_in_pixels_than_these_are() -> None:
    labels = torch.arange(5)
    smooth = nn.functional.interpolate(torch.randn(60, 1, 5, 5), (28, 28), mode="bilinear")
    judges = Judges(fs.load_model("digits-cnn"), real=smooth.sigmoid())
    pale = 0.5 + 0.05 * torch.randn(5, 1, 28, 28)
    found = judges.certify(pale.clamp(0, 1), labels)
    assert found.ratio is not None
    assert found.pattern_ratio is not None
    assert found.far is not None
    assert float(found.ratio.max()) < 1
    assert float(found.pattern_ratio.min()) > 1.2
    assert bool(found.far.all())
    # Of a plain grey picture there is no pattern, and none of grey ones that are all real.
    grey = judges.certify(torch.full((1, 1, 28, 28), 0.5), labels[:1])
    assert grey.far is not None
    assert grey.pattern_ratio is not None
    assert bool(grey.pattern_ratio.isfinite().all())
    plain = torch.linspace(0, 1, 5).view(5, 1, 1, 1).expand(5, 1, 28, 28)
    alone = Judges(fs.load_model("digits-cnn"), real=plain).certify(
        pale[:1].clamp(0, 1), labels[:1]
    )
    assert alone.pattern_ratio is None
    assert alone.far is not None


def test_what_was_not_given_is_not_measured() -> None:
    model, images, labels = _digits(5)
    found = Judges(model).certify(images, labels)
    assert found.ratio is found.second is found.counterfeit is found.adversarial is None
    assert found.describe()["counterfeits"] is None


def test_a_picture_that_rounding_undoes_is_no_counterfeit() -> None:
    # The class is told by a hundredth of an 8-bit level.
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False).double())
    module[1].weight.data = 1e6 * torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]]).double()
    model = fs.Classifier(module, channels=1, input_size=(2, 2))
    picture = torch.full((1, 1, 2, 2), 100 / 255, dtype=torch.double)
    picture[0, 0, 0, 0] += 1e-4
    found = Judges(model).certify(picture, torch.tensor([0]))
    assert float(found.confidence) > 0.99
    assert not bool(found.confident)


def test_counterfeits_stand_beside_real_pictures_and_noise(tmp_path) -> None:
    model, images, labels = _digits(200)
    made = counterfeits(
        model, images, labels, each_class(torch.tensor([2, 7]), 3),
        second=fs.load_model("digits-robust"),
    )  # fmt: skip
    rows = {one.name: one.describe() for one in made.rows}
    assert rows[REAL]["predicted_as_asked"] == 1
    assert rows[REAL]["counterfeits"] == 0
    assert rows[NOISE]["confident"] == 0
    assert rows[FROM_NOISE]["counterfeits"] == 1
    assert rows[FROM_NOISE]["distance_ratio_median"] > 2 * rows[REAL]["distance_ratio_median"]
    moved = made.row(FROM_OTHERS)
    assert moved.begun is not None
    assert not bool((moved.begun == made.classes).any())
    assert len(made._said(moved, 0)) == 2
    assert " → 2: " in made._said(moved, 0)[0]
    seen = moved.certificate
    assert seen.second_sure is not None
    torch.testing.assert_close(
        seen.second_sure,
        fs.predict(fs.load_model("digits-robust"), moved.images).probabilities.amax(1),
    )
    assert made.headline.startswith(
        "Sure of 6 of 6 pictures of noise, moved to a real answer (unmoved, of whatever class: 0 of"
    )
    columns, table = made.table()
    assert columns[-1] == "adversarial>"
    assert [row[-1] for row in table][1] == "–"
    files = made.save(tmp_path)
    assert sorted(one.name for one in files) == [
        "counterfeits.json", "counterfeits.png", "counterfeits.safetensors",
    ]  # fmt: skip
    told = json.loads((tmp_path / "counterfeits.json").read_text())
    assert told["headline"] == made.headline
    assert len(told["certificates"][FROM_NOISE]) == 6
    again = counterfeits(model, images, labels, each_class(torch.tensor([2, 7]), 3))
    assert torch.equal(again.row(FROM_NOISE).images, made.row(FROM_NOISE).images)
    with pytest.raises(fs.FluoroscopeError, match="no row 'x'; expected one of real, noise"):
        made.row("x")


def test_what_cannot_be_led_anywhere_is_refused_in_a_sentence() -> None:
    model, images, labels = _digits(60)
    with pytest.raises(fs.FluoroscopeError, match="classifies no real picture of 3 correctly"):
        counterfeits(model, images[labels != 3], labels[labels != 3], torch.tensor([3]))
    with pytest.raises(fs.FluoroscopeError, match="all real pictures are of class 3; expected"):
        counterfeits(model, images[labels == 3], labels[labels == 3], torch.tensor([3]))
    with pytest.raises(fs.FluoroscopeError, match="real holds 2 different pictures; expected 3"):
        Judges(model, real=images[:2])
    with pytest.raises(fs.FluoroscopeError, match="the network under study itself"):
        Judges(model, second=model)
