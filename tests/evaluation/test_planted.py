"""Planted examples against their formula, with plans that work and plans that cannot."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.engine.threats import L2, Linf, as_threat
from fluoroscope.errors import InvalidImagesError, InvalidParameterError, NoGradientError
from fluoroscope.evaluation.plan import Plan, Stage
from fluoroscope.evaluation.planted import neighbours
from fluoroscope.evaluation.planted.examples import _apart
from fluoroscope.evaluation.planted.neighbours import FRESH, POINTS, Planned, plant
from fluoroscope.evaluation.planted.network import Planted, Planting
from fluoroscope.evaluation.trust.checks import trust_checks
from reproductions.deceivers import DECEIVERS, deceiver, levels

Digits = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def digits() -> Digits:
    """Pictures that the linear network reads right, and their labels."""
    batch = next(iter(fs.load_images("digits", channels=1).take(40).batches(40)))
    assert batch.labels is not None
    right = fs.predict(fs.load_model("digits-linear"), batch.images).winners == batch.labels
    return batch.images[right][:16], batch.labels[right][:16]


def pgd(threat: str, steps: int = 10, **parameters: float) -> Plan:
    ball = as_threat(threat)
    attack = fs.attack("pgd", eps=ball.eps, norm=ball.name, steps=steps, **parameters)
    return Plan("pgd", (Stage("pgd", attack),))


def planned(model: fs.Classifier, digits: Digits, row: int, ball: Linf | L2) -> Planned:
    return plant(
        model, digits[0][row], int(digits[1][row]), ball, number=row, seed=0, batch_size=64
    )


@pytest.mark.parametrize("ball", [Linf(0.1), L2(1.5)])
def test_what_is_planted_is_there_and_is_rare(digits: Digits, ball: Linf | L2) -> None:
    model = fs.load_model("digits-linear")
    found = planned(model, digits, 0, ball)
    assert found.planting is not None
    assert found.neighbour is not None
    assert found.forwards == 1 + POINTS + 1 + FRESH + 4
    image, label = digits[0][:1], int(digits[1][0])
    near = Planted(model, [found.planting], ball.name)
    assert torch.equal(near(image), model(image))  # the network's own answer
    assert bool(ball.allows(found.neighbour[None], image).all())
    assert near(found.neighbour[None]).argmax() == found.planting.rival != label
    drawn = image + float(ball.eps) * torch.rand(500, 1, 28, 28).sub(0.5).sign()
    read = near(ball.project(drawn, image.expand_as(drawn))).argmax(1)
    assert float((read != label).float().mean()) < 0.01
    assert found.random == 0


@settings(max_examples=25, deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3),
    other=st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3),
    fall=st.floats(0.01, 50),
    scale=st.floats(0.01, 1000),
)
def test_the_planted_answer_is_the_stated_formula(
    logits: list[float], other: list[float], fall: float, scale: float
) -> None:
    class Said(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            rows = scale * torch.tensor([logits, other])
            return torch.where(images[:, :1, 0, 0] < 0.5, rows[0], rows[1])

    own, away = (scale * torch.tensor([logits, other])).double()
    label = int(own.argmax())
    rival = int(own.scatter(0, torch.tensor(label), -math.inf).argmax())
    lead = max(float(own[label] - own[rival]), 0.01)
    there = own.clamp(max=float(own[label]) - 1.1 * lead)
    there[label], there[rival] = own[label], own[label] - lead
    black = torch.zeros(1, 2, 2)
    planting = Planting(black, label, rival, float(own[label] - own[rival]), fall, there)
    near = Planted(fs.Classifier(Said(), channels=1, input_size=2), [planting], "linf")
    at, beyond = near(torch.stack([black, black + 1])).double()
    assert torch.allclose(at, there, rtol=1e-6, atol=0)
    fell = (own[label] - own[rival]) - (away[label] - away[rival])
    expected = there.clone()
    expected[label] -= lead * fell / (2 * fall)
    expected[rival] += lead * fell / (2 * fall)
    size = float(1 + expected.abs().max() + lead / fall * (own.abs().max() + away.abs().max()))
    assert torch.allclose(beyond, expected, atol=1e-5 * size)
    if abs(fell - fall) > 1e-3 * float(own.abs().max() + away.abs().max() + fall):
        assert bool(beyond.argmax() != label) == bool(fell > fall)


def test_a_sound_plan_finds_them_and_a_broken_one_does_not(digits: Digits) -> None:
    model = fs.load_model("digits-linear")
    found = fs.planted_examples(model, *digits, threat="linf:0.1", plan=pgd("linf:0.1"))
    right = len(found.examples)
    assert found.planted == found.tried == found.found == right > 12
    assert found.by_stage == {"pgd": right}
    assert found.random_share < 0.01
    assert found.backwards == sum(each.backwards for each in found.examples) < 80
    still = pgd("linf:0.1", step_size=1e-6)
    missed = fs.planted_examples(model, *digits, threat="linf:0.1", plan=still)
    assert (missed.tried, missed.found) == (4, 0)  # no more is needed to fail
    assert "found 0 of 4 planted examples" in repr(missed)
    assert "4 not found" in missed._repr_html_()


@pytest.mark.parametrize(
    ("name", "by"),
    [("quantised", "square"), ("wrong gradient", "square"), ("saturated", "apgd-dlr")],
)
def test_what_stops_a_gradient_stops_it_here_too(name: str, by: str, digits: Digits) -> None:
    model, threat = DECEIVERS[name](network="digits-cnn"), "linf:0.1"
    stages = {
        "apgd-ce": fs.attack("apgd", eps=0.1, steps=20),
        "apgd-dlr": fs.attack("apgd", eps=0.1, steps=20, loss="dlr"),
        "square": fs.attack("square", eps=0.1, queries=500),
    }
    white = Plan("white", (Stage("apgd-ce", stages["apgd-ce"]),))
    missed = fs.planted_examples(model, *digits, threat=threat, plan=white, pictures=4)
    assert (missed.tried, missed.found) == (4, 0)
    whole = Plan("whole", tuple(Stage(*pair) for pair in stages.items()))
    found = fs.planted_examples(model, *digits, threat=threat, plan=whole, pictures=4)
    assert found.found == 4
    assert found.by_stage[by] >= 3


def test_a_picture_has_its_own_whatever_is_beside_it(digits: Digits) -> None:
    model = fs.load_model("digits-linear")
    data = fs.load_images(digits[0], labels=digits[1], channels=1)
    plan = pgd("l2:0.8", steps=4)

    def made(positions: list[int], **options: int) -> dict[int, object]:
        found = fs.planted_examples(
            model, data.select(positions), threat="l2:0.8", plan=plan, **options
        )
        return {each.index: each for each in found.examples}

    whole = made([*range(8)])
    assert made([5, 2, 7], batch_size=7) == {number: whole[number] for number in (5, 2, 7)}
    assert made([*range(8)], pictures=3) == {number: whole[number] for number in range(3)}
    ball, first = L2(0.8), planned(model, digits, 2, L2(0.8))
    again, other = (
        plant(model, digits[0][2], int(digits[1][2]), ball, number=2, seed=seed, batch_size=size)
        for seed, size in ((0, 7), (1, 64))
    )
    assert first.planting is not None
    assert again.planting is not None
    assert other.planting is not None
    assert again.planting.fall == pytest.approx(first.planting.fall, rel=1e-5)
    assert other.planting.fall != pytest.approx(first.planting.fall, rel=1e-3)


def test_pictures_whose_balls_meet_are_kept_apart(digits: Digits) -> None:
    model, images = fs.load_model("digits-linear"), digits[0]
    plantings = {}
    for row in range(3):
        one = planned(model, digits, row, Linf(0.05)).planting
        assert one is not None
        plantings[row] = one
    assert _apart(plantings, Linf(0.05)) == [[0, 1, 2]]
    assert _apart({**plantings, 3: plantings[1]}, Linf(0.05)) == [[0, 1, 2], [3]]
    assert _apart(plantings, Linf(0.6)) == [[0], [1], [2]]
    together = Planted(model, list(plantings.values()), "linf")
    for row, planting in plantings.items():
        shown = (images[row] + torch.rand(5, 1, 28, 28).sub(0.5) * 0.1).clamp(0, 1)
        alone = Planted(model, [planting], "linf")(shown)
        assert torch.allclose(together(torch.cat([images[:3], shown]))[3:], alone, atol=1e-5)


def test_what_cannot_be_planted_is_said(digits: Digits) -> None:
    flat = deceiver("flat", before=lambda images: (images > 0.5).to(images))
    few = digits[0].round() * 0.6 + 0.2  # 0.02 changes none of these answers
    labels = fs.predict(flat, few).winners
    found = fs.planted_examples(flat, few, labels, threat="linf:0.02", plan=pgd("linf:0.02"))
    assert (found.planted, found.tried, len(found.examples)) == (0, 0, 16)
    assert "no image in the ball" in found.examples[0].why
    (*_, check) = trust_checks(flat, few, labels, "linf:0.02", plan=pgd("linf:0.02"), pictures=2)
    assert check.status == "not applicable"
    assert "no image in the ball" in check.words
    with pytest.raises(InvalidParameterError, match="expected a bound in Linf or L2"):
        fs.planted_examples(flat, few, labels, threat="l1:3", plan="standard")
    with pytest.raises(InvalidParameterError, match="pictures is 0"):
        fs.planted_examples(flat, few, labels, threat="linf:0.02", plan="fast", pictures=0)
    with pytest.raises(InvalidImagesError, match="none of the 16 images"):
        fs.planted_examples(flat, few, (labels + 1) % 10, threat="linf:0.02", plan="fast")
    cut = DECEIVERS["switched off"]()
    with pytest.raises(NoGradientError, match="the stage pgd"):
        fs.planted_examples(cut, *digits, threat="linf:0.1", plan=pgd("linf:0.1"), pictures=1)


def test_other_classifiers_take_it_too(digits: Digits) -> None:
    linear = fs.load_model("digits-linear")
    options = {"threat": "linf:0.1", "plan": pgd("linf:0.1", steps=4), "pictures": 2}
    for model in (
        fs.Ensemble([linear, fs.load_model("digits-cnn")]),
        fs.BPDA(linear, levels),  # which mends what is quantised
        fs.prepare(fs.load_model("digits-cnn"), precision="bf16"),
        linear.to(dtype=torch.bfloat16),
        linear.to(dtype=torch.float64),
        two(linear),
    ):
        labels = fs.predict(model.plain, digits[0]).winners
        found = fs.planted_examples(model, digits[0], labels, **options)
        assert (found.planted, found.found) == (2, 2), model.name
    drawn = fs.EOT(DECEIVERS["random resize"](), samples=3)  # an image's draws hang on its batch
    labels = fs.predict(drawn, digits[0]).winners
    found = fs.planted_examples(drawn, digits[0], labels, **options)
    assert found.tried == found.planted


def two(model: fs.Classifier) -> fs.Classifier:
    """One logit, for being an even digit."""

    class Even(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            rows: Tensor = model.module(images)
            return rows[:, ::2].logsumexp(1) - rows[:, 1::2].logsumexp(1)

    return fs.Classifier(Even(), outputs="logit", channels=1, input_size=28)


def test_a_plan_of_a_file_is_checked_in_a_run(digits: Digits, tmp_path: Path) -> None:
    file = tmp_path / "still.toml"
    file.write_text(
        '[[stages]]\nattack = "pgd"\n[stages.parameters]\nsteps = 3\nstep_size = 1e-6\n'
    )
    verdict = fs.evaluate(
        fs.load_model("digits-linear"), *digits, threat="linf:0.05", plan=file, trust=True,
        out=tmp_path / "run",
    )  # fmt: skip
    checks = {check.name: check for check in verdict.trust}
    check = checks["planted examples"]
    assert check.status == "fail"
    assert check.evidence["tried"] == check.evidence["planted"] == 4
    assert check.evidence["found"] == 0
    assert "the plan still found one for 0 of 4: this plan is not to be believed" in check.words
    assert check.forwards > 4 * (POINTS + FRESH)
    cancelled = iter([False] * 3 + [True] * 1000)
    stopped = fs.planted_examples(
        fs.load_model("digits-linear"), *digits, threat="linf:0.05", plan=file,
        cancelled=lambda: next(cancelled),
    )  # fmt: skip
    assert stopped.stopped
    assert stopped.tried == 0


def test_random_images_are_drawn_where_they_should_be(digits: Digits) -> None:
    for ball in (Linf(0.1), L2(1.5)):
        look = neighbours._Looking(
            fs.load_model("digits-linear"), digits[0][0], int(digits[1][0]), ball, 3, 0, 64
        )
        images = look._points(torch.arange(40))
        away = ball.distance(images - digits[0][0])
        edge = torch.arange(40) % neighbours.WITHIN > 0
        assert bool(ball.allows(images, digits[0][:1]).all())
        assert bool((away[edge] > 0.8 * float(ball.eps)).all())
        assert torch.equal(look._points(torch.tensor([17])), images[17:18])
        assert len({tuple(each.flatten().tolist()) for each in images}) == 40
