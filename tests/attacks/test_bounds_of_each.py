"""A bound for each image: every attack stays within each, and finds what it finds with it alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fluoroscope as fs
from fluoroscope.attacks.parts import attack_parts
from fluoroscope.attacks.registry import ATTACKS
from fluoroscope.engine.threats import as_threat
from fluoroscope.errors import InvalidParameterError
from fluoroscope.evaluation.plan import Stage
from tests.attacks.invertible_networks import invertible

EPS = {"linf": [0.1, 0.02, 0.1], "l2": [1.0, 0.2, 1.0], "l1": [8, 1, 8], "l0": [20, 3, 20]}
CASES = [(n, norm) for n, kind in ATTACKS.items() for norm in kind.norms if norm != "none"]


@pytest.fixture(scope="module")
def setting() -> tuple[fs.Classifier, Tensor, Tensor]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(128, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
    )
    model = fs.Classifier(module, channels=2, input_size=8)
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    return model, images, fs.predict(model, images).winners


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_as_with_each_bound_alone(name: str, norm: str, setting: Any) -> None:
    model, images, classes = setting
    if name == "latent":  # which needs an inverse
        model = invertible(2, 8)
        classes = fs.predict(model, images).winners
    own: dict[str, Any] = {}
    if name == "feature-adversary":
        own = {"layer": "1", "guides": images}
    if name == "admix":
        own = {"pool": images}
    if name == "universal":
        with pytest.raises(InvalidParameterError, match="eps has 3 bounds, one for each image"):
            fs.attack(name, eps=EPS[norm], norm=norm)
        return
    how: dict[str, Any] = {"keep": "best"} if not ATTACKS[name].minimum_norm else {}
    # Draws that depend on the pixels themselves want the same bytes, whatever the batch.
    how |= {"budget": fs.Budget(forwards=25), "exact": True, "batch_size": 16}
    together = fs.attack(name, eps=torch.tensor(EPS[norm]), norm=norm, **own)
    result = together(model, images, classes, **how)
    for row, bound in enumerate(torch.tensor(EPS[norm]).tolist()):
        alone = fs.attack(name, eps=bound, norm=norm, **own)(
            model, images[row : row + 1], classes[row : row + 1],
            numbers=torch.tensor([row]), **how,
        )  # fmt: skip
        torch.testing.assert_close(result.images[row], alone.images[0], atol=1e-5, rtol=0)
        assert result.success[row] == alone.success[0]
        assert result.forwards[row] == alone.forwards[0]
        if result.success[row]:
            threat = alone_threat(norm, bound)
            assert threat.allows(result.images[row : row + 1], images[row : row + 1]).all()


def alone_threat(norm: str, bound: float) -> Any:
    return as_threat(f"{norm}:{bound}")


def test_steps_name_the_images_of_the_whole_batch_and_the_record_keeps_the_bounds(
    setting: Any, tmp_path: Path
) -> None:
    model, images, classes = setting
    seen: set[int] = set()

    def note(step: Any) -> None:
        for row, image in zip(step.indices.tolist(), step.images, strict=True):
            seen.add(row)
            assert (image - images[row]).abs().max() <= EPS["linf"][row] + 1e-6

    attack = fs.attack("pgd", eps=EPS["linf"], steps=4)
    result = attack(model, images, classes, on_step=note, restarts=2, batch_size=2, keep="last")
    assert seen == {0, 1, 2}
    result.save(tmp_path)
    record = json.loads((tmp_path / "attack.json").read_text())
    assert record["parameters"]["threat"] == {"norm": "linf", "eps": EPS["linf"]}
    chain = fs.attack("fgsm|pgd", eps=EPS["linf"], steps=4)
    result = chain(model, images, classes)
    away = (result.images - images).abs().flatten(1).amax(1)
    assert (away <= torch.tensor(EPS["linf"]) + 1e-6).all()
    assert result.record["attack"] == "FGSM | PGD"


def test_bounds_go_with_the_pictures_of_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fluoroscope.attacks.parts.part_size", lambda model: 2)
    data = fs.load_images("digits", channels=1).select([7, 3, 5])
    model, bounds = fs.load_model("digits-cnn"), [0.3, 0.0, 0.1]
    attack = fs.attack("fgsm", eps=bounds)
    away = [
        float((image - original).abs().max())
        for part in attack_parts(model, attack, data, keep="last")
        for image, original in zip(part.images, part.originals, strict=True)
    ]
    assert away == pytest.approx(bounds, abs=1e-6)
    with pytest.raises(InvalidParameterError, match=r"eps has 3 bounds for 2 picture"):
        list(attack_parts(model, attack, data.select(range(2))))


def test_another_number_of_bounds_is_refused_at_the_call(setting: Any) -> None:
    model, images, classes = setting
    with pytest.raises(InvalidParameterError, match=r"eps has 2 bounds for 3 images"):
        fs.attack("pgd", eps=torch.tensor([0.1, 0.2]))(model, images, classes)


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (torch.full((2, 2), 0.1), r"eps is a Tensor of shape \(2, 2\); expected one number, or"),
        ([], "eps is a list; expected one number"),
        ([0.1, float("inf")], "expected one number, or finite ones"),
        ([0.1, float("nan")], "eps is nan"),
        ([0.1, -1], "eps is -1"),
        ([0.1, 8], "did you mean 8/255"),
        ([None, 0.1], "eps is a list"),
        ({"a": 1}, "eps is 'a'"),
    ],
)
def test_bounds_that_are_none_are_refused(eps: Any, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fs.Linf(eps)


def test_where_there_must_be_one_bound_several_are_refused(setting: Any) -> None:
    model, images, classes = setting
    several = fs.Linf([0.1, 0.2, 0.3])
    for call in (
        lambda: fs.evaluate(model, images, classes, threat=several, plan="fast"),
        lambda: fs.training.PGDLoss(threat=several),
        lambda: fs.morph(model, images[:1], to=1, eps=[0.1]),  # type: ignore[arg-type]
        lambda: several.project(images, images),
        lambda: Stage("pgd", fs.attack("pgd", eps=[0.1, 0.2])),
    ):
        with pytest.raises(
            InvalidParameterError, match=r"bounds, one for each image; expected one"
        ):
            call()
