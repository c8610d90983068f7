"""Linear networks, where every number has a closed form: Karpathy, Evans, Goodfellow."""

import math

import torch
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.gradient.ascent import GradientAscent
from fluoroscope.engine.objectives import LOGIT
from fluoroscope.engine.run import run
from fluoroscope.engine.threats import Unbounded
from fluoroscope.pictures.maps import map_figure, write_figure
from fluoroscope.training.trainer.fitting import fit
from fluoroscope.training.trainer.recipe import Recipe
from reproductions.sources import PAGE, mnist

SEED = 0


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "linear", "Linear networks")
    _toys(page)
    _closed_form(page)
    _goodfellow(page)
    _templates(page)
    return page


def binary(weights: list[float], *, low: float, high: float) -> fs.Classifier:
    """A logistic model of inputs between ``low`` and ``high``, as a network of two classes.

    Its image in ``[0, 1]`` stands for that range; the scale is its preprocessing.
    """
    layer = nn.Linear(len(weights), 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0] * len(weights), weights]))
    scale = high - low
    return fs.Classifier(
        nn.Sequential(nn.Flatten(), layer), mean=[-low / scale], std=[1 / scale], channels=1,
        labels=["no", "yes"],
    )  # fmt: skip


def _toys(page: Section) -> None:
    x = torch.tensor([2.0, -1, 3, -2, 2, 2, 1, -4, 5, 1])
    model = binary([-1, -1, 1, -1, 1, -1, 1, 1, -1, 1], low=-10, high=10)
    image = ((x + 10) / 20).view(1, 1, 1, 10)
    before = fs.predict(model, image)
    after = fs.fgsm(model, image, 1, 0.5 / 20, targeted=True)
    page.text(
        "**Karpathy's ten numbers** (2015). One signed step of ±0.5 per coordinate, by `fs.fgsm`."
    )
    score = [float(z[0, 1] - z[0, 0]) for z in (before.logits, after.logits)]
    page.table(
        ["", "score>", "probability>", "paper>"],
        [
            ["as given", f"{score[0]:.4f}", f"{_sigmoid(score[0]):.4f}", "0.0474"],
            ["±0.5 each", f"{score[1]:.4f}", f"{_sigmoid(score[1]):.4f}", "0.8808"],
        ],
    )

    weights = [23.0, -3, 9, 2, -5]
    pixels = torch.tensor([30.0, 0, 10, 7, 0])
    model = binary(weights, low=-255, high=255)
    image = ((pixels + 255) / 510).view(1, 1, 1, 5)
    slope = fs.input_gradient(model, image, 1, "logit").flatten() / 510
    moved = _raised(model, image, 1 / 510)
    score = [float(z[0, 1]) for z in (fs.predict(model, image).logits, moved)]
    local = [-0.01, -0.01, 0.01, 0.02, 0.03]
    page.text(
        "**Evans' five-pixel network** (2015): weights 23, −3, 9, 2, −5 and five pixels that score "
        "794 (her pixels are not in our source; these do). The gradient is the weights, and a step "
        "of ±1 along its sign moves the score by the sum of their absolute values."
    )
    page.table(
        ["", "measured>", "expected>"],
        [
            ["score", f"{score[0]:.3f}", "794"],
            ["gradient", ", ".join(f"{g:.3f}" for g in slope.tolist()), "23, −3, 9, 2, −5"],
            ["score after ±1 along the sign", f"{score[1]:.3f}", f"{794 + 42}"],
            ["change for her gradient −.01, −.01, .01, .02, .03", f"{_step(local):.4f}", "0.08"],
            ["loss at p = 0.9957, natural log", f"{-math.log(0.9957):.4f}", "0.0043 (not .0018)"],
        ],
    )


def _raised(model: fs.Classifier, image: Tensor, step_size: float) -> Tensor:
    """The logits after one signed step that raises the score of class 1."""
    ascent = GradientAscent(1, step_size, "sign", LOGIT)
    wanted = torch.tensor([1])
    return run(model, ascent, image, wanted, Unbounded(), targeted=True, keep="last").logits


def _step(slopes: list[float]) -> float:
    model = binary(slopes, low=-10, high=10)
    image = torch.full((1, 1, 1, 5), 0.5)
    moved = _raised(model, image, 1 / 20)
    return float(moved[0, 1] - fs.predict(model, image).logits[0, 1])


def _closed_form(page: Section) -> None:
    model = fs.load_model("digits-linear").to(dtype=torch.float64)
    weight = next(model.module.parameters()).detach()
    images, _ = mnist("test", 200)
    images = 0.3 + 0.4 * images.double()  # room for ±0.25 on both sides of every pixel
    rows = []
    for a, b in ((3, 8), (4, 9), (5, 6)):
        pair = _pair(model, a, b)
        result = fs.fgsm(pair, images, 0, 0.25)
        z = fs.predict(pair, images).logits
        moved = (z[:, 0] - z[:, 1]) - (result.logits[:, 0] - result.logits[:, 1])
        closed = 0.25 * (weight[a] - weight[b]).abs().sum() / _std(model)
        error = ((moved - closed).abs() / closed).max()
        rows.append([f"{a} against {b}", f"{float(closed):.6f}", f"{float(error):.1e}"])
    page.text(
        "**FGSM on a linear network equals its closed form** (Goodfellow et al. 2015, section 3): "
        "the margin between two classes falls by `eps · ‖w_a − w_b‖₁`, whatever the picture. "
        "`digits-linear`, 200 pictures, `eps` 0.25, float64."
    )
    page.table(["classes", "eps · ‖w_a − w_b‖₁>", "largest relative error>"], rows)


def _pair(model: fs.Classifier, a: int, b: int) -> fs.Classifier:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ten = model.module

        def forward(self, x: Tensor) -> Tensor:
            return self.ten(x)[:, [a, b]]

    return fs.Classifier(Two(), preprocessing=model.preprocessing, labels=[str(a), str(b)])


def _std(model: fs.Classifier) -> float:
    return model.preprocessing.std[0] if model.preprocessing.std else 1.0


def _goodfellow(page: Section) -> None:
    images, labels = mnist("test")
    rows = []
    shipped = fs.load_model("digits-linear")
    rows.append(
        ["`digits-linear`, 10 classes", *_fooled(shipped, images, labels), "99.9 % / 79.3 %"]
    )
    fresh = softmax_regression()
    rows.append(
        ["softmax regression, trained here, 10 classes", *_fooled(fresh, images, labels),
         "99.9 % / 79.3 %"]
    )  # fmt: skip
    keep = (labels == 3) | (labels == 7)
    rows.append(
        ["logistic regression, 3 against 7",
         *_fooled(_three_or_seven(), images[keep], (labels[keep] == 7).long()), "1.6 → 99 % / –"]
    )  # fmt: skip
    page.text(
        "**FGSM at 0.25 on MNIST test** (Goodfellow et al. 2015, section 4; the confidence is the "
        "mean largest probability on the mistakes). All 10,000 pictures, clamped to [0, 1]; our "
        f"networks are trained with seed {SEED}, more sharply than the paper's, hence surer."
    )
    page.table(
        ["network", "clean error>", "error under FGSM>", "confidence on mistakes>", "paper>"], rows
    )


def _fooled(model: fs.Classifier, images: Tensor, labels: Tensor) -> list[str]:
    clean = (fs.predict(model, images, batch_size=500).winners != labels).float().mean()
    result = fs.fgsm(model, images, labels, 0.25, batch_size=500)
    confidence = result.logits.softmax(1).amax(1)[result.success].mean()
    wrong = result.success.float().mean()
    return [percent(float(clean), 2), percent(float(wrong)), percent(float(confidence))]


def softmax_regression() -> fs.Classifier:
    """Softmax regression on MNIST."""
    images, labels = mnist("train")
    return _logistic(images, labels, 10)


def _three_or_seven() -> fs.Classifier:
    images, labels = mnist("train")
    keep = (labels == 3) | (labels == 7)
    return _logistic(images[keep], (labels[keep] == 7).long(), 2)


def _logistic(images: Tensor, labels: Tensor, classes: int) -> fs.Classifier:
    """Softmax regression without augmentation, as in the paper."""
    layer = nn.Linear(784, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    module = nn.Sequential(nn.Flatten(), layer)
    fit(module, images, labels, Recipe(epochs=10, learning_rate=1e-3), seed=SEED)
    return fs.Classifier(module, channels=1, input_size=28)


def _templates(page: Section) -> None:
    model = fs.load_model("digits-linear")
    blank = torch.zeros(1, 28, 28)
    templates = fs.input_gradient(model, blank.expand(10, 1, 28, 28), range(10), "logit")
    figure = map_figure(
        [(str(digit), templates[digit]) for digit in range(10)], unit="logit per unit of ink"
    )
    page.text(
        "**Templates** (Karpathy 2015). The gradient of a class is its template, for every picture "
        "the same. Added with a small amplitude it is the attack: share of 1,000 MNIST test "
        "pictures of other classes that become the class, averaged over the ten."
    )
    path = page.picture("templates.png", "The ten templates of digits-linear as signed maps.")
    write_figure(path, figure)
    images, labels = mnist("test", 1000)
    rows = []
    for amplitude in (0.05, 0.1, 0.2, 0.4):
        won = []
        for digit in range(10):
            size = amplitude / float(templates[digit].abs().max())
            attack = GradientAscent(1, size, "raw", LOGIT)
            others = images[labels != digit]
            target = torch.full((len(others),), digit)
            read = run(
                model, attack, others, target, Unbounded(), targeted=True, keep="last"
            ).logits.argmax(1)
            won.append(float((read == digit).float().mean()))
        rows.append(
            [f"{amplitude:.2f}", percent(sum(won) / 10), percent(min(won)), percent(max(won))]
        )
    page.table(["largest change of a pixel>", "mean>", "hardest class>", "easiest class>"], rows)


def _sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))
