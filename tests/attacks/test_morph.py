"""The morph: where it goes, what it records, and that its files read back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

import fluoroscope as fs
from fluoroscope.attacks.morph_result import MorphResult
from fluoroscope.errors import (
    InvalidImagesError,
    InvalidParameterError,
    ResultFormatError,
    UnknownLabelError,
)


def network(seed: int = 0, channels: int = 1) -> fs.Classifier:
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 64, 4)
    )
    with torch.no_grad():
        body[-1].weight.mul_(6)
    return fs.Classifier(
        body, labels=["cat", "dog", "$a_b$ <b>&", "[red]fox"], channels=channels, input_size=8
    )


@pytest.fixture
def model() -> fs.Classifier:
    return network()


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_follows_the_recipe_step_by_step(model: fs.Classifier, image: Tensor) -> None:
    """Evans' loop, written out: clamp to the ball and the box after each signed step."""
    eps, step = 0.08, 0.02
    x = image.clone()
    for found in fs.morph_stream(model, image, to="dog", eps=eps, step_size=step, steps=9):
        torch.testing.assert_close(found.image, x, atol=1e-6, rtol=0)
        assert found.probabilities[1].item() == pytest.approx(
            model(x[None]).softmax(1)[0, 1].item(), abs=1e-5
        )
        y = x[None].clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(y).log_softmax(1)[0, 1], y)
        x = (x + step * slope[0].sign()).clamp(image - eps, image + eps).clamp(0, 1)
    assert found.number == 9


@settings(max_examples=25)
@given(
    seed=st.integers(0, 50),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(0, 0.3),
    direction=st.sampled_from(["sign", "normalized", "raw"]),
    on_grid=st.booleans(),
)
def test_every_step_stays_in_the_ball_the_box_and_on_the_grid(
    seed: int, norm: str, eps: float, direction: str, on_grid: bool
) -> None:
    model = network(seed)
    for step in fs.morph_stream(
        model, "noise", to=seed % 4, eps=eps, norm=norm, direction=direction, on_grid=on_grid,
        steps=4, step_size=0.1, seed=seed,
    ):  # fmt: skip
        assert getattr(step, norm) <= eps * (1 + 1e-5) + 1e-6
        assert step.image.min() >= 0
        assert step.image.max() <= 1
        if on_grid:
            assert torch.equal(torch.round(step.image * 255) / 255, step.image)


def test_small_steps_add_up_on_the_grid(model: fs.Classifier, image: Tensor) -> None:
    result = fs.morph(
        model, image, to="dog", eps="4/255", step_size="0.4/255", steps=10, on_grid=True
    )
    assert result.linf[-1].item() == pytest.approx(4 / 255, abs=1e-6)
    assert result.target_probability[-1] > result.target_probability[0]


def test_stops_at_the_wanted_probability(model: fs.Classifier, image: Tensor) -> None:
    full = fs.morph(model, image, to=1, steps=40, direction="sign", step_size=0.02)
    short = fs.morph(model, image, to=1, steps=40, direction="sign", step_size=0.02, stop_at=0.8)
    assert short.target_probability[-1] >= 0.8
    assert max(short.target_probability[:-1]) < 0.8
    assert short.reached
    torch.testing.assert_close(
        short.probabilities, full.probabilities[: len(short.probabilities)], atol=1e-5, rtol=1e-4
    )


def test_away_and_less_leave_the_class(model: fs.Classifier, image: Tensor) -> None:
    present = fs.predict(model, image).winners.item()
    away = fs.morph(model, image, away=True, steps=60, direction="sign", step_size=0.02)
    less = fs.morph(model, image, less=present, steps=60, direction="sign", step_size=0.02)
    assert away.reached
    assert away.plan.target == present
    assert torch.equal(away.image, less.image)


def test_way_stations_are_the_changes_of_winner(model: fs.Classifier) -> None:
    result = fs.morph(model, "grey", to="cat", steps=30, direction="sign", step_size=0.02)
    stations = result.way_stations
    assert stations[0] == (0, result.winners[0])
    rebuilt: list[int] = []
    for (step, winner), (end, _) in zip(stations, [*stations[1:], (31, -1)], strict=True):
        rebuilt += [winner] * (end - step)
    assert rebuilt == result.winners


@pytest.mark.parametrize("steps", [1, 5, 7, 8, 9, 40, 123])
def test_kept_frames_are_pictures_of_the_trajectory(model: fs.Classifier, steps: int) -> None:
    trajectory = list(fs.morph_stream(model, "noise", to=0, steps=steps, step_size=0.1))
    result = fs.morph(model, "noise", to=0, steps=steps, step_size=0.1, frames=4)
    assert len(result.frames) <= 4
    assert result.frame_steps[0] == 0
    assert result.frame_steps[-1] == steps
    for number, frame in zip(result.frame_steps.tolist(), result.frames, strict=True):
        assert torch.equal(frame, trajectory[number].image)


def test_same_seed_same_bytes(model: fs.Classifier) -> None:
    first, second, other = (fs.morph(model, "noise", to=0, steps=3, seed=s) for s in (7, 7, 8))
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.original, other.original)


@pytest.mark.parametrize("channels", [1, 3])
def test_saved_files_read_back(tmp_path: Path, channels: int) -> None:
    result = fs.morph(network(channels=channels), "noise", to="$a_b$", steps=6, on_grid=True)
    paths = result.save(tmp_path / "new" / "run", gif=True)
    assert {path.name for path in paths} == {
        "slide.png", "original.png", "result.png", "difference.png", "curve.png", "curve.svg",
        "morph.gif", "morph.safetensors", "morph.json",
    }  # fmt: skip
    assert sorted(p.name for p in paths) == sorted(p.name for p in paths[0].parent.iterdir())
    loaded = MorphResult.load(paths[0].parent)
    for name, value in vars(result).items():
        if isinstance(value, Tensor):
            assert torch.equal(getattr(loaded, name), value), name
        else:
            assert getattr(loaded, name) == value, name
    with Image.open(tmp_path / "new/run/morph.gif") as gif:
        assert gif.n_frames == len(result.frames)
        assert gif.width == 256
    reread = fs.open_image(str(tmp_path / "new/run/result.png"), channels=channels).image
    assert torch.equal(reread, result.image)


def test_json_has_what_the_readme_promises(model: fs.Classifier, image: Tensor) -> None:
    described = json.loads(json.dumps(fs.morph(model, image, to="[red]", steps=3).describe()))
    assert {"model", "from", "to", "reached", "steps", "way_stations"} <= described.keys()
    assert described["to"] == "[red]fox"
    assert [row["step"] for row in described["steps"]] == [0, 1, 2, 3]
    row = described["steps"][-1]
    assert {"step", "target_probability", "winner", "top", "linf", "l2"} <= row.keys()
    assert {"label", "probability"} == row["top"][0].keys()
    assert described["steps"][0]["l2"] == 0


def test_an_interrupted_save_leaves_no_half_file(
    tmp_path: Path, model: fs.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = fs.morph(model, "noise", to=0, steps=2)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fluoroscope.attacks.morph_files.write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        result.save(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert "morph.json" not in left
    assert not any(name.startswith(".") for name in left)
    with pytest.raises(ResultFormatError, match=r"expected morph\.json"):
        MorphResult.load(tmp_path)


def test_a_save_over_an_earlier_one_never_leaves_a_mixture(
    tmp_path: Path, model: fs.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (fs.morph(model, "noise", to=0, steps=2, seed=seed) for seed in (0, 1))
    first.save(tmp_path)
    record = (tmp_path / "morph.json").read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fluoroscope.attacks.morph_files.write_figure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            second.save(tmp_path)
    with pytest.raises(ResultFormatError, match="holds no morph"):
        MorphResult.load(tmp_path)
    second.save(tmp_path, gif=False)
    assert not (tmp_path / "morph.gif").exists()
    assert torch.equal(MorphResult.load(tmp_path).original, second.original)
    (tmp_path / "morph.json").write_bytes(record)
    with pytest.raises(ResultFormatError, match="of two morphs"):
        MorphResult.load(tmp_path)


def morphed(winners: list[int], target: int, mode: str = "to", **plan: object) -> MorphResult:
    """A morph made up of these winners, each with 70 %, the next class with 20 %."""
    probabilities = torch.full((len(winners), 4), 0.05)
    for row, winner in zip(probabilities, winners, strict=True):
        row[winner], row[(winner + 1) % 4] = 0.7, 0.2
    some = fs.morph(network(), "black", to=1, steps=1, eps="0.1")
    last = len(winners) - 1
    given = {"mode": mode, "target": target, "steps": last, "norm": "linf", "stop_at": None} | plan
    return replace(
        some,
        plan=replace(some.plan, **given),
        probabilities=probabilities,
        objective=torch.zeros(last + 1, dtype=torch.double),
        l0=torch.zeros(last + 1, dtype=torch.long),
        linf=torch.linspace(0, 0.1, last + 1),
        l2=torch.linspace(0, 2, last + 1),
    )


@pytest.mark.parametrize(
    ("result", "step", "says"),
    [
        (lambda: morphed([0, 0, 1, 1], 1), 2,
         "cat (70.0 %) became dog at step 2; after 3 steps and a change of at most 0.1 a pixel it "
         "is dog (70.0 %)"),
        (lambda: morphed([0, 2, 1], 1, norm="none"), 2,
         "cat (70.0 %) became dog at step 2; after 2 steps and a change of Euclidean length 2 it "
         "is dog (70.0 %)"),
        (lambda: morphed([0, 1, 0, 1], 1, stop_at=0.9), 3,
         "cat (70.0 %) became dog for good at step 3, first at step 1; after 3 steps and a change "
         "of at most 0.1 a pixel it is dog (70.0 %), of which 90.0 % were wanted"),
        (lambda: morphed([0, 0], 1), None,
         "cat (70.0 %) did not become dog: after 1 step and a change of at most 0.1 a pixel it is "
         "cat (70.0 %); dog went from 20.0 % to 20.0 %"),
        (lambda: morphed([1, 1], 1), None,
         "it was dog (70.0 %) to begin with: nothing had to change; after 1 step and a change of "
         "at most 0.1 a pixel it is dog (70.0 %)"),
        (lambda: morphed([1], 1, stop_at=0.5), None,
         "it was dog (70.0 %) to begin with: nothing had to change"),
        (lambda: morphed([0, 1], 0, "away"), 1,
         "cat (70.0 %) became dog at step 1; after 1 step and a change of at most 0.1 a "
         "pixel it is dog (70.0 %)"),
        (lambda: morphed([0, 1], 0, "less", stop_at=0.01), 1,
         "cat (70.0 %) became dog at step 1; after 1 step and a change of at most 0.1 a "
         "pixel it is dog (70.0 %), and cat 5.0 %: 1.0 % were wanted"),
        (lambda: morphed([0, 0], 0, "away"), None,
         "cat (70.0 %) stayed cat: after 1 step and a change of at most 0.1 a pixel it is cat "
         "(70.0 %)"),
        (lambda: morphed([2, 2], 0, "less"), None,
         "it was $a_b$ <b>& (70.0 %) to begin with, and not cat: nothing had to change; after 1 "
         "step and a change of at most 0.1 a pixel it is $a_b$ <b>& (70.0 %)"),
    ],
)  # fmt: skip
def test_it_says_when_the_class_changed(
    result: Callable[[], MorphResult], step: int | None, says: str
) -> None:
    found = result()
    assert found.summary.replace("\u202f", " ") == says
    assert found.changed_at == step
    assert found.describe()["changed_at"] == step


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 99}', '{"format": 1}', "shape", "cut"])
def test_broken_results_are_named(tmp_path: Path, model: fs.Classifier, damage: str) -> None:
    fs.morph(model, "noise", to=0, steps=2).save(tmp_path, gif=False)
    if damage == "cut":
        path = tmp_path / "morph.safetensors"
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "shape":
        record = json.loads((tmp_path / "morph.json").read_text())
        record["labels"].append("one too many")
        (tmp_path / "morph.json").write_text(json.dumps(record))
    else:
        (tmp_path / "morph.json").write_text(damage)
    with pytest.raises(ResultFormatError):
        MorphResult.load(tmp_path)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({}, InvalidParameterError, "just one of them"),
        ({"to": 0, "away": True}, InvalidParameterError, "just one of them"),
        ({"to": "bird"}, UnknownLabelError, "expected one of: cat"),
        ({"to": "cta"}, UnknownLabelError, "did you mean 'cat'"),
        ({"to": 4}, UnknownLabelError, "from 0 to 3"),
        ({"to": 0, "eps": -1}, InvalidParameterError, "at least 0"),
        ({"to": 0, "eps": "8/x"}, InvalidParameterError, "8/255"),
        ({"to": 0, "steps": 0}, InvalidParameterError, "1 or more"),
        ({"to": 0, "direction": "down"}, InvalidParameterError, "normalized"),
        ({"to": 0, "norm": "l2"}, InvalidParameterError, "eps is missing"),
        ({"to": 0, "objective": "cross-entropy"}, InvalidParameterError, "a loss"),
        ({"to": 0, "stop_at": 1.5}, InvalidParameterError, "probability"),
        ({"to": 0, "step_size": float("nan")}, InvalidParameterError, "step_size"),
    ],
)
def test_bad_options_are_named(
    model: fs.Classifier, image: Tensor, given: dict, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        fs.morph(model, image, **given)


def test_more_than_one_picture_is_refused(model: fs.Classifier) -> None:
    with pytest.raises(InvalidImagesError, match="one picture"):
        fs.morph(model, torch.rand(2, 1, 8, 8), to=0)
