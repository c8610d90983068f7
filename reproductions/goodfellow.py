"""Goodfellow, Shlens, Szegedy (2015): what FGSM does to deep and shallow networks of MNIST."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.gradient.ascent import GradientAscent
from fluoroscope.attacks.gradient.gradient_sign import PGD
from fluoroscope.engine import randomness
from fluoroscope.engine.objectives import Objective
from fluoroscope.engine.run import run
from fluoroscope.engine.threats import Linf
from fluoroscope.pictures.maps import map_figure, write_figure
from fluoroscope.training.losses.adversarial import FGSMLoss
from fluoroscope.training.trainer.fitting import cross_entropy, fit
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Loss, Moment
from reproductions.linear import softmax_regression
from reproductions.sources import PAGE, held, mnist

SEED = 0
EPS = 0.25
EPOCHS = 10
MAXOUT_EPOCHS = 6
RBF_EPOCHS = 10
RUBBISH = 10_000

Pictures = tuple[Tensor, Tensor]
"""Pictures ``(N, 1, 28, 28)`` and labels ``(N,)``."""


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "goodfellow", "Goodfellow's table")
    train, test = mnist("train"), mnist("test")
    plain = _mlp(train)
    hardened = _mlp(train, loss=FGSMLoss(threat=Linf(EPS)))
    signs = _mlp(train, noise=lambda x: EPS * (torch.rand_like(x) - 0.5).sign())
    uniform = _mlp(train, noise=lambda x: EPS * (2 * torch.rand_like(x) - 1))
    maxout = _fitted(_Maxout(), train, Recipe(epochs=MAXOUT_EPOCHS, learning_rate=1e-3))
    networks = {
        "maxout": maxout,
        "MLP": plain,
        "MLP, trained on FGSM": hardened,
        "MLP, trained on ± eps at random": signs,
        "MLP, trained on U(−eps, eps)": uniform,
    }
    page.text(
        "Rows of the table of Goodfellow et al. (2015) that one processor can redo. All of MNIST "
        f"(60,000 and 10,000 pictures), FGSM at {EPS} clamped to [0, 1], where the paper does not "
        "clamp. *MLP* is 784-400-400-10 with ReLU in place of their larger networks, "
        f"{EPOCHS} epochs; *maxout* is their 2 × 240 units of 5 pieces, {MAXOUT_EPOCHS} epochs, "
        "without their dropout and norm constraint. Adam at 0.001 with a falling rate, batches of "
        f"128, no augmentation, seed {SEED}. *Confidence* is the mean largest probability on the "
        "mistakes. The gates are ours, set before the package was written. Softmax regression and "
        "3 against 7 under FGSM stand under *Linear networks*.",
    )
    attacked = _table(page, networks, test)
    _transfer(page, plain, hardened, attacked)
    _random(page, plain, test)
    _limits(page, hardened, test)
    softmax, rbf = softmax_regression(), _rbf(train)
    _shallow(page, rbf, test)
    _rubbish(page, {**networks, "softmax regression": softmax}, rbf)
    _agreement(page, attacked["maxout"], softmax, rbf)
    _filters(page, plain, hardened)
    return page


def _mlp(
    train: Pictures,
    *,
    loss: Loss = cross_entropy,
    noise: Callable[[Tensor], Tensor] | None = None,
) -> fs.Classifier:
    layers: list[nn.Module] = [nn.Flatten()]
    with _seeded():
        for inward, outward in pairwise((784, 400, 400, 10)):
            layers += [nn.Linear(inward, outward), nn.ReLU()]

    def noisy(images: Tensor, labels: Tensor) -> Tensor:
        assert noise is not None
        return (images + noise(images)).clamp(0, 1)

    recipe = Recipe(epochs=EPOCHS, learning_rate=1e-3, augment=noisy if noise else None)
    return _fitted(nn.Sequential(*layers[:-1]), train, recipe, loss)


@contextmanager
def _seeded() -> Iterator[None]:
    """Torch's random state begins at the seed in the block, and is what it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        yield


class _Maxout(nn.Module):
    """784, two layers of 240 maxima of 5 linear pieces, 10."""

    def __init__(self) -> None:
        super().__init__()
        with _seeded():
            self.first, self.second = nn.Linear(784, 1200), nn.Linear(240, 1200)
            self.last = nn.Linear(240, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).view(-1, 240, 5).amax(2)
        return self.last(self.second(x).view(-1, 240, 5).amax(2))  # type: ignore[no-any-return]


class _RBF(nn.Module):
    """``log p_c = -sum_d beta_cd (x_d - mu_cd)^2``: ten bumps, from the classes' mean pictures."""

    def __init__(self, train: Pictures) -> None:
        super().__init__()
        images, labels = train
        means = torch.stack([images[labels == c].flatten(1).mean(0) for c in range(10)])
        self.mean = nn.Parameter(means)
        # About 0.4 at a typical digit of the class, which is 40 away in squares.
        self.log_beta = nn.Parameter(torch.full((10, 784), 0.02).log())

    def forward(self, x: Tensor) -> Tensor:
        beta, flat = self.log_beta.exp(), x.flatten(1)
        constant = (beta * self.mean.square()).sum(1)
        distance = flat.square() @ beta.T - 2 * flat @ (beta * self.mean).T + constant
        return -distance.clamp(min=1e-6)


def _binary(logs: Tensor, classes: Tensor) -> Tensor:
    """Log-likelihood of ten yes-or-no answers, from the log of each probability of yes."""
    own = F.one_hot(classes, 10).bool()
    return torch.where(own, logs, torch.log(-torch.expm1(logs))).sum(1)


def _rbf(train: Pictures) -> fs.Classifier:
    def loss(
        module: nn.Module, images: Tensor, labels: Tensor, moment: Moment
    ) -> tuple[Tensor, Tensor]:
        logs = module(images)
        return -_binary(logs, labels).mean(), logs

    recipe = Recipe(epochs=RBF_EPOCHS, learning_rate=5e-3)
    return _fitted(_RBF(train), train, recipe, loss)


def _fitted(
    module: nn.Module, train: Pictures, recipe: Recipe, loss: Loss = cross_entropy
) -> fs.Classifier:
    fit(module, *train, recipe, seed=SEED, loss=loss)
    return fs.Classifier(module, channels=1, input_size=28)


def _error(model: fs.Classifier, images: Tensor, labels: Tensor) -> float:
    wrong = fs.predict(model, images, batch_size=500).winners != labels
    return float(wrong.float().mean())


def _table(
    page: Section, networks: dict[str, fs.Classifier], test: Pictures
) -> dict[str, fs.AttackResult]:
    """Clean error and error under the network's own FGSM; returns what FGSM made."""
    paper = {
        "maxout": "0.94 % / 89.4 % / 97.6 %",
        "MLP": "–",
        "MLP, trained on FGSM": "0.84 % / 17.9 % / 81.4 % (maxout)",
        "MLP, trained on ± eps at random": "– / 86.2 % / 97.3 % (maxout)",
        "MLP, trained on U(−eps, eps)": "– / 90.4 % / 97.8 % (maxout)",
    }
    clean, fooled, rows, made = {}, {}, [], {}
    for name, model in networks.items():
        clean[name] = _error(model, *test)
        result = fs.fgsm(model, *test, EPS, batch_size=500)
        made[name] = result
        fooled[name] = float(result.success.float().mean())
        confidence = float(result.logits.softmax(1).amax(1)[result.success].mean())
        gate, holds = _gate(name, clean, fooled)
        rows.append(
            [name, percent(clean[name], 2), percent(fooled[name]), percent(confidence),
             paper[name], gate, holds]
        )  # fmt: skip
    page.text(
        "**Own FGSM**, and training against it or against noise of the same size. The paper's "
        "columns are clean error, error under FGSM and confidence."
    )
    page.table(
        ["network", "clean error>", "under FGSM>", "confidence>", "paper>", "gate", "holds"], rows
    )
    change = 100 * (clean["MLP, trained on FGSM"] - clean["MLP"])
    page.text(
        f"Training on FGSM changes the clean error by {change:+.2f} points here. In the paper it "
        f"fell by 0.10, with maxout, dropout and hundreds of epochs; {EPOCHS} are what this page "
        "can afford."
    )
    return made


def _gate(name: str, clean: dict[str, float], fooled: dict[str, float]) -> tuple[str, str]:
    hard = "MLP, trained on FGSM"
    if name == "maxout":
        fact = clean[name] <= 0.025 and 0.85 <= fooled[name] <= 1
        return "clean ≤ 2.5 %, FGSM 85 to 100 %", held(fact)
    if name == hard:
        fact = clean[name] <= clean["MLP"] + 0.001 and fooled[name] <= 0.25
        return "clean ≤ MLP's + 0.1 points, FGSM ≤ 25 %", held(fact)
    if name in ("MLP, trained on ± eps at random", "MLP, trained on U(−eps, eps)"):
        fact = fooled[name] >= max(0.8, 3 * fooled[hard])
        return "FGSM ≥ 80 % and ≥ 3 × that of the one trained on FGSM", held(fact)
    return "–", "–"


def _transfer(
    page: Section,
    plain: fs.Classifier,
    hardened: fs.Classifier,
    made: dict[str, fs.AttackResult],
) -> None:
    of_plain, of_hardened = made["MLP"], made["MLP, trained on FGSM"]
    there = _error(hardened, of_plain.images, of_plain.classes)
    back = _error(plain, of_hardened.images, of_hardened.classes)
    page.text("**Transfer**: error of one network on the pictures that FGSM made for the other.")
    page.table(
        ["made for → read by", "error>", "paper>", "gate", "holds"],
        [
            ["MLP → MLP, trained on FGSM", percent(there), "19.6 % (maxout)", "less than back",
             held(there < back)],
            ["MLP, trained on FGSM → MLP", percent(back), "40.9 % (maxout)", "–", "–"],
        ],
    )  # fmt: skip


def _random(page: Section, plain: fs.Classifier, test: Pictures) -> None:
    images, labels = test
    draw = randomness.uniform(randomness.keys(SEED, torch.arange(len(images))), 0, (1, 28, 28))
    noises = {"± eps": (draw - 0.5).sign(), "U(−eps, eps)": 2 * draw - 1}
    rows = []
    for name, noise in noises.items():
        moved = images + EPS * noise
        for how, pictures in (("clamped", moved.clamp(0, 1)), ("not clamped", moved)):
            error = float((_logits(plain, pictures).argmax(1) != labels).float().mean())
            rows.append([name, how, percent(error), "< 10 %", held(error < 0.1)])
    page.text(
        "**Random noise is a poor attack**: the same size, on the MLP. On black paper the clamp "
        "cuts away the half of the noise that is negative, and what is left adds grey everywhere, "
        "eps / 2 in the mean for ± eps: no longer the paper's noise without a mean, which is "
        "the other row."
    )
    page.table(["noise", "", "error>", "gate", "holds"], rows)


def _limits(page: Section, hardened: fs.Classifier, test: Pictures) -> None:
    images, labels = test[0][:1000], test[1][:1000]
    result = PGD(threat=Linf(EPS), steps=20)(hardened, images, labels, batch_size=500)
    page.text(
        "**What one step does not tell**: the network trained on FGSM errs on "
        f"{percent(float(result.success.float().mean()))} of the first 1,000 pictures under PGD "
        "with 20 steps of the same eps, which the paper did not try."
    )


def _shallow(page: Section, rbf: fs.Classifier, test: Pictures) -> None:
    images, labels = test
    answers = fs.predict(rbf, images, batch_size=500)
    # The attack raises the network's own loss, which is not the cross-entropy of a softmax.
    objective = Objective("binary log-likelihood", _binary)
    ascent = GradientAscent(1, EPS, "sign", objective, Linf(EPS))
    result = run(rbf, ascent, images, labels, Linf(EPS), keep="last", batch_size=500)
    clean = answers.logits.exp().amax(1).mean()
    mistakes = result.logits.exp().amax(1)[result.success].mean()
    page.text(
        "**A shallow RBF network**: `p(c) = exp(−Σ β (x − μ)²)` with a mean and a diagonal β for "
        f"each class, trained as ten yes-or-no questions for {RBF_EPOCHS} epochs; its "
        "probabilities need not add to 1. FGSM follows that loss."
    )
    page.table(
        ["", "measured>", "paper>", "gate", "holds"],
        [
            ["clean error", percent(_error(rbf, *test)), "–", "–", "–"],
            ["confidence, clean", percent(float(clean)), "60.6 %", "–", "–"],
            ["error under FGSM", percent(float(result.success.float().mean())), "55.4 %", "–",
             "–"],
            ["confidence on the mistakes", percent(float(mistakes)), "1.2 %",
             "< half of clean", held(float(mistakes) < float(clean) / 2)],
        ],
    )  # fmt: skip


def _rubbish(page: Section, networks: dict[str, fs.Classifier], rbf: fs.Classifier) -> None:
    keys = randomness.keys(SEED, torch.arange(RUBBISH))
    rubbish = randomness.normal(keys, 0, (1, 28, 28))
    paper = {"maxout": "98.35 % / 92.8 %", "softmax regression": "59.8 % / 70.8 %"}
    rows = []
    for name, model in networks.items():
        if "random" in name or "U(" in name:
            continue
        share, confidence, claims = _claimed(_logits(model, rubbish).softmax(1))
        plain = "trained" not in name
        gate, holds = ("≥ 80 %", held(share >= 0.8)) if plain else ("–", "–")
        rows.append([name, percent(share), percent(confidence), claims, paper.get(name, "–"),
                     gate, holds])  # fmt: skip
    share, _, _ = _claimed(_logits(rbf, rubbish).exp())
    rows.append(["RBF", percent(share, 2), "–", "–", "0 %", "0 %", held(share == 0)])
    page.text(
        f"**Rubbish**: {RUBBISH:,} draws of N(0, 1) in every pixel, no clamp. Claimed is a draw to "
        "which the network gives some class a probability above one half; the confidence is that "
        "of those. In the paper maxout claimed a 5 in 45.3 % of them."
    )
    page.table(
        ["network", "claimed>", "confidence>", "most claimed", "paper>", "gate", "holds"], rows
    )


def _logits(model: fs.Classifier, images: Tensor) -> Tensor:
    """Of any numbers; `fs.predict` wants pictures in [0, 1]."""
    with torch.no_grad():
        return torch.cat([model(part) for part in images.split(500)])


def _claimed(probabilities: Tensor) -> tuple[float, float, str]:
    """Share above one half, its mean confidence, and the class claimed most."""
    best, classes = probabilities.max(1)
    claimed = best > 0.5
    if not claimed.any():
        return 0.0, 0.0, "–"
    counts = classes[claimed].bincount(minlength=10)
    favourite = f"{int(counts.argmax())} ({percent(float(counts.max() / counts.sum()))})"
    return float(claimed.float().mean()), float(best[claimed].mean()), favourite


def _agreement(
    page: Section, result: fs.AttackResult, softmax: fs.Classifier, rbf: fs.Classifier
) -> None:
    mistaken = result.success
    theirs, truth = result.logits.argmax(1)[mistaken], result.classes[mistaken]
    paper = {"softmax regression": ("54.6 %", "84.6 %"), "RBF": ("16.0 %", "54.3 %")}
    rows = []
    for name, model in (("softmax regression", softmax), ("RBF", rbf)):
        read = fs.predict(model, result.images[mistaken], batch_size=500).winners
        agree = float((read == theirs).float().mean())
        both = read != truth
        when_both = float((read == theirs)[both].float().mean())
        gate = ("> 30 %", held(agree > 0.3)) if name != "RBF" else ("–", "–")
        rows.append(
            [name, percent(agree), paper[name][0], percent(when_both), paper[name][1], *gate]
        )
    page.text(
        "**Agreement on mistakes**: on the pictures FGSM made for maxout and with which it fooled "
        "it, how often other networks give maxout's wrong class; and the same among those they "
        "misclassify too. Chance level is 11 %."
    )
    page.table(
        ["network", "agrees>", "paper>", "agrees where wrong>", "paper>", "gate", "holds"], rows
    )


def _filters(page: Section, plain: fs.Classifier, hardened: fs.Classifier) -> None:
    panels = []
    for word, model in (("plain", plain), ("FGSM", hardened)):
        weights = model.module[1].weight.detach()  # type: ignore[index]
        for unit in weights.norm(dim=1).topk(5).indices.tolist():
            panels.append((f"{word}: unit {unit}", weights[unit].view(1, 28, 28)))
    page.text(
        "**First-layer weights** of the MLP trained plainly and on FGSM, the five longest of each. "
        "In the paper's figure 3 adversarial training makes them more localised."
    )
    path = page.picture("goodfellow-filters.png", "First-layer weights, plain and hardened.")
    write_figure(path, map_figure(panels, unit="weight"))
