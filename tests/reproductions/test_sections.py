"""The sections that train networks run on a few pictures, and their own formulas are right."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fluoroscope as fs


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Path) -> Any:
    """A module of the reproductions that writes into a temporary folder."""
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)

    def named(name: str) -> Any:
        module = import_module(f"reproductions.{name}")
        monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
        return module

    return named


@pytest.mark.parametrize("room", ["reproductions", "benchmarks"])
def test_what_writes_the_docs_can_be_imported(room: str) -> None:
    for path in sorted((Path(__file__).parents[2] / room).glob("[!_]*.py")):
        import_module(f"{room}.{path.stem}")


def test_goodfellow_runs(load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    section, linear = load("goodfellow"), load("linear")
    digits = fs.load_images("digits", channels=1).take(200)
    batch = next(digits.batches(200))
    for module in (section, linear):
        monkeypatch.setattr(module, "mnist", lambda split, limit=None: (batch.images, batch.labels))
    for name in ("EPOCHS", "MAXOUT_EPOCHS", "RBF_EPOCHS"):
        monkeypatch.setattr(section, name, 1)
    monkeypatch.setattr(section, "RUBBISH", 50)

    text = "\n".join(section.section().lines)
    for row in ("MLP, trained on FGSM → MLP", "U(−eps, eps)", "| RBF | 0.00 %", "| maxout |"):
        assert row in text
    assert (tmp_path / "page" / "goodfellow-filters.png").is_file()


def test_fooling_by_one_step(load: Any, monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    section = load("fooling")
    model = fs.load_model(shared / "models" / "mobilenet_v1_0.25_128")
    sample = fs.load_images(shared / "data" / "imagenet_sample").take(2)
    batch = next(sample.batches(2, fit=model, workers=0))
    labels = fs.predict(model, batch.images).winners  # as if it read all of them right
    monkeypatch.setattr(section, "GRID", 2)
    page = section.Section(section.PAGE, "fooling", "")
    section._one_step(page, model, batch.images, labels)
    rows = [line.split(" | ") for line in page.lines if line.startswith("| ")]
    grid = {row[0]: row[1:] for row in rows if len(row) == 5}
    assert grid["| 0.5"][2:] == ["0/255", "0 |"]  # nothing moves below one level
    assert grid["| 2"][2:] == ["2/255", "2 |"]  # and from one level on the grid costs nothing


def test_success_against_queries(
    load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    section = load("queries")
    for name in ("DIGITS", "PICTURES"):
        monkeypatch.setattr(section, name, 2)
    for name in ("DIGITS_QUERIES", "QUERIES"):
        monkeypatch.setattr(section, name, 140)
    text = "\n".join(section.section().lines)
    for name, kind in section.ATTACKS.items():
        assert text.count(f"| {name} |") == (2 if kind.access in ("score", "decision") else 0)
    for file in ("digits", "mobilenet"):
        assert (tmp_path / "page" / f"queries-{file}.png").stat().st_size > 10_000
    square = [line.split(" | ") for line in text.splitlines() if line.startswith("| square |")]
    assert all(row[5:8] == ["–"] * 3 for row in square)  # more than the budget
    target = section.Target("", "", None, torch.zeros(4, 1), torch.zeros(4), 500, {})
    assert [section._by(mark, [100, 101, 400], target) for mark in section.MARKS] == [
        "25.0 %", "50.0 %", "–", "–",
    ]  # fmt: skip


def test_the_rbf_network_is_its_formula(load: Any) -> None:
    section = load("goodfellow")
    batch = next(fs.load_images("digits", channels=1).take(50).batches(50))
    network = section._RBF((batch.images, batch.labels))
    x = batch.images[:3].flatten(1)
    square = (x[:, None] - network.mean) ** 2
    expected = -(network.log_beta.exp() * square).sum(2)
    assert torch.allclose(network(batch.images[:3]), expected, atol=1e-4)

    logs, classes = torch.tensor([[-0.1, -2.0, -3.0]]), torch.tensor([1])
    p = logs[0].double().exp()
    likelihood = p[1].log() + (1 - p[0]).log() + (1 - p[2]).log()
    padded = torch.cat([logs.double(), torch.full((1, 7), -60.0).double()], 1)
    assert section._binary(padded, classes).item() == pytest.approx(float(likelihood))


def test_karpathys_decay_pulls_at_the_weights_alone(load: Any) -> None:
    section = load("karpathy")
    layer = nn.Linear(4, 3)
    images, labels = torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
    slopes = []
    for decay in (0.0, 0.5):
        layer.zero_grad()
        section._decayed(layer, decay)(layer, images, labels, None)[0].backward()
        slopes.append((layer.weight.grad.clone(), layer.bias.grad.clone()))
    assert torch.allclose(slopes[1][0] - slopes[0][0], 0.5 * layer.weight, atol=1e-6)
    assert torch.equal(slopes[1][1], slopes[0][1])


def test_strong_decay_shortens_the_templates_and_their_reach(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = load("karpathy")
    monkeypatch.setattr(section, "EPOCHS", 20)
    images = torch.randint(256, (200, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(200) % 10
    free, held = (section._linear(images, labels, decay) for decay in (0.0, 10.0))
    assert held.module[2].weight.norm() < free.module[2].weight.norm() / 2
    assert section._on_noise(held)[1] < section._on_noise(free)[1]


def test_universal_runs(load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    section = load("universal")
    small = {"PICTURES": 8, "FIT": 4, "EPOCHS": 1, "PATCH_EPOCHS": 1, "PATCH_BATCH": 2, "BATCH": 4}
    for name, value in small.items():
        monkeypatch.setattr(section, name, value)
    text = "\n".join(section.section().lines)
    for row in ("| universal perturbation |", "| random signs |", "| a photograph of a toaster |"):
        assert row in text
    for file in ("universal.png", "universal-amplified.png", "patch-print.png"):
        assert (tmp_path / "page" / file).is_file()
    assert section._rate(torch.arange(10) < 5) == "50.0 % (23.7 to 76.3)"  # Wilson's by hand


def test_trust_runs(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    section = load("trust")
    batch = next(fs.load_images("digits", channels=1).take(100).batches(100))
    monkeypatch.setattr(section, "mnist", lambda split, limit=None: (batch.images, batch.labels))
    monkeypatch.setattr(section, "EPOCHS", 1)
    monkeypatch.setattr(section, "PICTURES", 2)
    cases = section._cases(fs.load_model("digits-linear"))
    few = [case for case in cases if case.name in ("digits-linear", "saturated", "detached")]
    monkeypatch.setattr(section, "_cases", lambda overfitted: few)
    text = "\n".join(section.section().lines)
    assert "| trained against FGSM |" in text
    assert "False alarms: 0 of 20 checks" in text
    assert "Of 2 deceivers 2 were caught" in text


def test_a_unit_keeps_its_activation_on_its_patch_and_the_decision_may_not() -> None:
    """A unit answers to a bright spot; the class is told by the other half of the picture."""
    from reproductions.neurons_patches import kept

    class Planted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spot = nn.AvgPool2d(3, 1, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bright = self.spot(images)
            half = bright[..., 8:].mean((1, 2, 3)) - 0.5
            return torch.stack([half, -half], 1)

    images = torch.zeros(6, 1, 16, 16)
    images[:, 0, 2:5, 2:5] = 1  # the unit's
    images[:, 0, :, 8:] = 0.9  # the decision's
    model = fs.Classifier(Planted(), channels=1, input_size=16)
    found = kept(model, fs.neurons.read(model, images, "spot"), fs.load_images(images))
    assert found.patch == pytest.approx(1)
    assert found.control < 1
    assert found.decision == 0
    assert found.searched == 5
