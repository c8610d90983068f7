"""Bai, Bagchi, Inouye: what an invertible network's latent is good for, on digits and CIFAR-10.

Of their paper (2012.13111) only the abstract is known. An i-ResNet is trained here; its inverse and
its bounds are measured, its latent attack stands beside PGD and DeepFool, training with it beside
training with PGD and with FGSM at equal cost, and what the latent says of adversarial pictures is
read and drawn. Networks and numbers are kept under ``KEPT``; delete it to begin anew.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Scale, Section, percent
from fluoroscope.attacks.attack import Method
from fluoroscope.engine.memory import keep_freed_memory
from fluoroscope.files import atomic_path, remove
from fluoroscope.invertible import LatentReading, bounds_of, latents_of, pictures_of, read_latent
from fluoroscope.invertible.parts import PARTS
from fluoroscope.models.invertible.network import InvertibleNetwork, Shape
from fluoroscope.models.invertible.stated import invertible_classifier, statement
from fluoroscope.training.losses.adversarial import FGSMLoss, PGDLoss
from fluoroscope.training.losses.latent import LatentLoss
from fluoroscope.training.trainer.checkpoint import describe
from fluoroscope.training.trainer.fitting import cross_entropy, fit_stream
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import Loss
from reproductions import cifar
from reproductions.sources import PAGE, held, mnist

KEPT = Path("out/reproductions/training/invertible")
PAIRS = 1000
"""Pairs of pictures that the bounds are held against, and pictures that are run backwards."""
ATTACKED = 100
"""Test pictures that are attacked."""
LED = 120
"""Test pictures of the detection, each led to one class."""
GAP = 0.02
"""By how much the bisection may miss the bound at which PGD reaches the same success."""
# Passes of a step of each loss through the network, where one back counts as two forward.
COST = {"plain": 3, "fgsm": 9, "pgd": 33, "latent": 12}


@dataclass(frozen=True)
class Setting:
    """Pictures, a network for them, and how long it learns."""

    title: str
    shape: Shape
    pictures: int
    epochs: int
    data: Callable[[str], tuple[Tensor, Tensor]]
    labels: tuple[str, ...]
    eps: float
    """In L2, of the training against attacks and of its judge."""
    budget: int = 0
    """Passes for each picture of the training against attacks; 0 where there is none."""


SETTINGS = {
    "digits": Setting(
        "digits", Shape(1, 28, 28, 10, scales=2, blocks=2, hidden=24), 3000, 8, mnist,
        tuple(str(each) for each in range(10)), 1.5, 132,
    ),
    "cifar": Setting(
        "CIFAR-10", Shape(3, 32, 32, 10, scales=2, blocks=2, hidden=24), 3000, 5, cifar.cifar,
        cifar.LABELS, 0.5,
    ),
}  # fmt: skip


def section(scale: Scale | None = None) -> Section:
    """Inverse and bounds, the attack, the training, and what the latent shows."""
    keep_freed_memory()
    page = Section(
        PAGE, "training-invertible", "What does the latent of an invertible network say?"
    )
    limit = None if scale is None else scale.limit
    page.text(
        "Of Bai, Bagchi and Inouye (2020, 2012.13111) only the abstract is known, which has no "
        "numbers: an invertible network with a Lipschitz bound, adversarial pictures read in its "
        "latent, a fast attack through the latent, training with it and detection by it. Here an "
        "i-ResNet (Behrmann et al. 2019, 1811.00995; `fluoroscope train invertible`) with "
        "`c = .9`, all of whose latent a linear head reads. One seed."
    )
    models = {name: network(name, "plain", limit) for name in SETTINGS}
    _inverse(page, models, limit)
    _attacks(page, models, limit)
    _training(page, limit)
    _latents(page, models["digits"], limit)
    _detection(page, models["digits"], limit)
    page.text("What the abstract says, and what was found here:", _claims(limit))
    return page


def network(name: str, arm: str, limit: int | None = None) -> fs.Classifier:
    """One of the trained networks, made now if it was not before."""
    setting, place = SETTINGS[name], _place(name, arm, limit)
    file = place / "invertible.safetensors"
    if not file.is_file():
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model = invertible_classifier(setting.shape, setting.labels)
        images, labels = (part[: limit or setting.pictures] for part in setting.data("train"))
        checkpoint = place / "checkpoint.safetensors"
        *_, last = fit_stream(
            model.module, images, labels, _recipe(setting, arm), loss=_loss(setting, arm),
            checkpoint=checkpoint,
        )  # fmt: skip
        print(f"{place.name}: {last}", flush=True)
        with atomic_path(file) as draft:
            save_file(model.module.state_dict(), draft, statement(model))
        remove(checkpoint)
    model = fs.load_model("invertible", checkpoint=file)
    model.name = f"{name}, {arm}"
    return model


def example(number: int = 0, attack: str = "latent", limit: int | None = None) -> LatentReading:
    """The reading of a digit that the network classifies correctly, and of what an attack makes."""
    model = network("digits", "plain", limit)
    images, labels = _right(model, "digits", 20)
    chosen, label = images[number : number + 1], labels[number : number + 1]
    eps = None if attack == "latent" else SETTINGS["digits"].eps
    found = fs.attack(attack, eps=eps, norm="l2")(model, chosen, label)
    return read_latent(model, chosen[0], found.images[0], how=f"the attack {attack}")


def _place(name: str, arm: str, limit: int | None) -> Path:
    setting = SETTINGS[name]
    made = {
        "shape": setting.shape.describe(), "recipe": describe(_recipe(setting, arm)),
        "loss": describe(_loss(setting, arm)), "pictures": limit or setting.pictures,
        "measured": [PAIRS, ATTACKED, LED, setting.eps],
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:12]
    place = KEPT / f"{name}-{arm}-{digest}"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _recipe(setting: Setting, arm: str) -> Recipe:
    epochs = setting.epochs if arm == "plain" else setting.budget // COST[arm]
    augment = cifar.augment if setting.shape.channels == 3 else None
    return Recipe(
        epochs=epochs, batch_size=64, learning_rate=1e-2, weight_decay=0.01, augment=augment
    )


def _loss(setting: Setting, arm: str) -> Loss:
    threat = fs.L2(setting.eps)
    match arm:
        case "pgd":
            return PGDLoss(threat=threat, steps=10, ramp=0.35)
        case "fgsm":
            return FGSMLoss(threat=threat, ramp=0.35)
        case "latent":
            return LatentLoss(threat=threat, ramp=0.35)
        case _:
            return cross_entropy


def _kept(place: Path, name: str, measure: Callable[[], Any]) -> Any:
    """What was measured, now if it was not before."""
    file = place / f"{name}.json"
    if not file.is_file():
        found = measure()
        with atomic_path(file) as draft:
            draft.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(place.name, name, found, flush=True)
    return json.loads(file.read_text("utf-8"))


def _test(name: str, many: int) -> tuple[Tensor, Tensor]:
    images, labels = (part[:many] for part in SETTINGS[name].data("test"))
    return (images / 255 if images.dtype == torch.uint8 else images), labels


def _right(model: fs.Classifier, name: str, many: int) -> tuple[Tensor, Tensor]:
    """Test pictures that are classified correctly."""
    images, labels = _test(name, 20 * many)
    rows = (fs.predict(model, images).winners == labels).nonzero()[:many, 0]
    return images[rows], labels[rows]


def _inverse(page: Section, models: dict[str, fs.Classifier], limit: int | None) -> None:
    rows = []
    for name, model in models.items():
        found = _kept(_place(name, "plain", limit), "inverse", partial(_of_inverse, name, model))
        depth = SETTINGS[name].shape.depth
        rows.append([
            SETTINGS[name].title, f"{found['accuracy']:.1%}".replace("%", " %"),
            f"{found['error']:.1e}", f"{found['double']:.1e}", f"{found['rounds'] / depth:.1f}",
            f"{found['ratios'][0]:.3f} to {found['ratios'][1]:.3f}",
            f"{found['low']:.1e} and {found['high']:.3g}",
            f"{0.1**depth:.1e} and {1.9**depth:.3g}",
        ])  # fmt: skip
    page.text(
        f"**Inverse and bounds.** {PAIRS:,} test pictures to the latent and back: the largest "
        f"error of any pixel, and the mean rounds of a block's fixed point; and {PAIRS:,} random "
        "pairs, half of them two pictures, half a picture and itself with noise of a hundredth: "
        "the least and the largest ratio of distances in the latent and in pixels, beside the "
        "bounds of the blocks' own norms and of `c` alone. The gate is an error below 1e-4, and no "
        "ratio outside."
    )
    page.table(
        ["", "right>", "error, float32>", "error, float64>", "rounds>", "ratios>", "bounds>",
         "by c alone>"],
        rows,
    )  # fmt: skip


def _of_inverse(name: str, model: fs.Classifier) -> dict[str, Any]:
    images, labels = _test(name, PAIRS)
    latents = latents_of(model, images)
    back = pictures_of(model, latents)
    twice = model.to(dtype=torch.float64)
    few = images[:100].double()
    drawn = torch.Generator().manual_seed(0)
    others = images[torch.randperm(PAIRS, generator=drawn)]
    near = images + 0.01 * torch.randn(images.shape, generator=drawn)
    others = torch.cat([others[: PAIRS // 2], near[PAIRS // 2 :]])
    apart = (latents_of(model, others) - latents).norm(dim=1)
    ratios = apart / (others - images).flatten(1).norm(dim=1)
    ratios = ratios[ratios.isfinite()]
    low, high = bounds_of(model)
    return {
        "accuracy": float((fs.predict(model, images).winners == labels).float().mean()),
        "error": float((back.images - images).abs().max()),
        "double": float((pictures_of(twice, latents_of(twice, few)).images - few).abs().max()),
        "rounds": float(back.rounds.double().mean()),
        "ratios": [float(ratios.min()), float(ratios.max())],
        "low": low,
        "high": high,
        "inside": bool(((ratios >= low) & (ratios <= high)).all()),
    }


def _attacks(page: Section, models: dict[str, fs.Classifier], limit: int | None) -> None:
    page.text(
        f"**The latent attack** on {ATTACKED} test pictures that are classified correctly, beside "
        "PGD of 10 steps in L2 within the bound at which it fools as many (found by bisection, "
        "whose other runs are not counted), beside DeepFool, and both within one bound. Passes are "
        "means for a picture; those of the inverse go through the blocks alone and are counted as "
        "forward; seconds are the processor's. *L2* is the mean length of the change of those that "
        "were fooled."
    )
    rows = []
    for name, model in models.items():
        found = _kept(_place(name, "plain", limit), "attacks", partial(_of_attacks, name, model))
        for one in found:
            rows.append([
                SETTINGS[name].title, one["name"], percent(one["success"]), f"{one['l2']:.2f}",
                f"{one['forwards']:.0f}", f"{one['backwards']:.0f}", f"{one['seconds']:.1f}",
            ])  # fmt: skip
    page.table(["", "attack", "fooled>", "L2>", "forward>", "back>", "seconds>"], rows)


def _of_attacks(name: str, model: fs.Classifier) -> list[dict[str, Any]]:
    images, labels = _right(model, name, ATTACKED)
    latent = _run(model, fs.attack("latent"), "latent", images, labels)
    goal, low, high = latent["success"], 0.0, 4 * latent["l2"]
    best: dict[str, Any] | None = None
    while best is None or high - low > GAP * high:
        eps = (low + high) / 2
        attack = fs.attack("pgd", eps=eps, norm="l2", steps=10)
        found = _run(model, attack, f"PGD, 10 steps, within {eps:.2f}", images, labels)
        if found["success"] >= goal:
            best, high = found, eps
        else:
            low = eps
        if low > 64 * latent["l2"]:
            break
    bound = SETTINGS[name].eps
    within = fs.attack("pgd", eps=bound, norm="l2", steps=10)
    rest = [
        _run(model, fs.attack("deepfool", norm="l2"), "DeepFool", images, labels),
        _run(model, fs.attack("latent", eps=bound), f"latent, within {bound}", images, labels),
        _run(model, within, f"PGD, 10 steps, within {bound}", images, labels),
    ]
    return [latent, *([best] if best else []), *rest]


def _run(
    model: fs.Classifier, attack: Method, name: str, images: Tensor, labels: Tensor
) -> dict[str, Any]:
    with _passes(model) as passes:
        began = time.process_time()
        found = attack(model, images, labels)
        seconds = time.process_time() - began
    return {
        "name": name,
        "success": float(found.success.double().mean()),
        "l2": float(found.distance[found.success].mean()),
        "forwards": passes[0] / len(images),
        "backwards": float(found.backwards.double().mean()),
        "seconds": seconds,
    }


@contextmanager
def _passes(model: fs.Classifier) -> Iterator[list[float]]:
    """Counts passes through all blocks, be they forward or of the inverse."""
    network = model.module
    assert isinstance(network, InvertibleNetwork)
    count, blocks = [0.0], network.blocks()

    def note(_: object, given: tuple[Tensor, ...], __: object) -> None:
        count[0] += len(given[0]) / len(blocks)

    hooks = [block.residual.register_forward_hook(note) for block in blocks]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def _training(page: Section, limit: int | None) -> None:
    setting = SETTINGS["digits"]
    arms = ("plain", "pgd", "fgsm", "latent")
    page.text(
        f"**Training with it** on {limit or setting.pictures:,} digits within {setting.eps} in L2, "
        f"at equal cost: {setting.budget} passes for each picture, where one back counts as two "
        "forward. PGD of 10 steps learns from moved pictures alone, FGSM and the latent attack "
        "half from those and half from clean ones. Seconds are the processor's, from ten steps. "
        "Judged on "
        f"{ATTACKED} test pictures by APGD (50 steps, L2), and by the latent attack within the "
        "same bound."
    )
    rows = []
    for arm in arms:
        model, place = network("digits", arm, limit), _place("digits", arm, limit)
        found = _kept(place, "robust", partial(_robust, model))
        epochs = _recipe(setting, arm).epochs
        steps = _recipe(setting, arm).steps(limit or setting.pictures)
        seconds = steps * _kept(place, "cost", partial(_cost, arm))
        rows.append([
            arm if arm in ("plain", "latent") else arm.upper(), str(epochs),
            str(epochs * COST[arm]), f"{seconds:.0f}", percent(found["clean"]),
            percent(found["apgd"]), percent(found["latent"]),
        ])  # fmt: skip
    page.table(
        ["trained", "epochs>", "passes>", "seconds>", "clean>", "survive APGD>",
         "survive latent>"],
        rows,
    )  # fmt: skip


def _cost(arm: str) -> float:
    """Seconds of the processor for a step, the mean of some."""
    setting = SETTINGS["digits"]
    images, labels = (part[: 10 * 64] for part in setting.data("train"))
    module = invertible_classifier(setting.shape, setting.labels).module
    began = time.process_time()
    *_, last = fit_stream(
        module, images, labels, Recipe(epochs=1, batch_size=64), loss=_loss(setting, arm)
    )
    return (time.process_time() - began) / last.number


def _robust(model: fs.Classifier) -> dict[str, float]:
    images, labels = _test("digits", ATTACKED)
    eps = SETTINGS["digits"].eps
    found = {"clean": float((fs.predict(model, images).winners == labels).float().mean())}
    for name, settings in (("apgd", {"steps": 50}), ("latent", {})):
        attack = fs.attack(name, eps=eps, norm="l2", **settings)
        left = attack(model, images, labels)
        found[name] = float((~(left.success | left.at_start)).float().mean())
    return found


def _latents(page: Section, model: fs.Classifier, limit: int | None) -> None:
    found = _kept(_place("digits", "plain", limit), "latents", lambda: _of_latents(model))
    page.text(
        f"**What the latent shows.** {ATTACKED // 2} digits and what each attack makes of them: "
        "shares of the squared difference in the latent, means. *Both classes* is the direction "
        "that moves their margin, *other classes* what moves other margins alone, *ignored* all on "
        "which no margin depends. *Stretched* "
        "is how many times longer the difference is in the latent than in pixels."
    )
    page.table(
        ["", *(f"{part}>" for part in PARTS), "L2 in pixels>", "stretched>"],
        [
            [one["name"], *(percent(share) for share in one["shares"]),
             *(f"{one[key]:.2f}" if one["l2"] else "–" for key in ("l2", "stretched"))]
            for one in found
        ],
    )  # fmt: skip
    sheets = [example(0, attack, limit).sheet() for attack in ("latent", "pgd")]
    place = page.picture(
        "training-invertible.png",
        "A digit and what the latent attack and PGD make of it, and the digit with each part of "
        "the difference in the latent",
    )
    with atomic_path(place) as draft:
        _below(sheets).save(draft, "PNG")


def _of_latents(model: fs.Classifier) -> list[dict[str, Any]]:
    images, labels = _right(model, "digits", ATTACKED // 2)
    eps = SETTINGS["digits"].eps
    attacks = {
        "latent attack": fs.attack("latent"),
        "DeepFool": fs.attack("deepfool", norm="l2"),
        f"PGD, 10 steps, {eps}": fs.attack("pgd", eps=eps, norm="l2", steps=10),
    }
    rows, moved = [], {}
    for name, attack in attacks.items():
        result = attack(model, images, labels, keep="last" if name.startswith("PGD") else None)
        kept = result.success
        moved[name] = images[kept], result.images[kept]
    drawn = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noise = images + eps * drawn / drawn.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    moved[f"noise, {eps}"] = images, noise.clamp(0, 1)
    for name, (before, after) in moved.items():
        read = [read_latent(model, *pair) for pair in zip(before, after, strict=True)]
        rows.append({
            "name": f"{name} ({len(read)})",
            "shares": [fmean(one.record["shares"][part] for one in read) for part in range(3)],
            "l2": fmean(one.record["distance"] for one in read),
            "stretched": fmean(
                one.record["latent_distance"] / one.record["distance"] for one in read
            ),
        })  # fmt: skip
    head = read_latent(model, images[0], noise[0].clamp(0, 1)).record["expected_shares"]
    return [*rows, {"name": "no direction", "shares": head, "l2": 0.0, "stretched": 0.0}]


def _detection(page: Section, model: fs.Classifier, limit: int | None) -> None:
    found = _kept(_place("digits", "plain", limit), "detected", lambda: _of_detection(model, limit))
    page.text(
        "**Detection.** `fluoroscope neurons detect --layer latent`, as with any layer: "
        f"{LED} digits, each led to one class by PGD (20 steps, L2 "
        f"{SETTINGS['digits'].eps}). AUROC / share detected where 5 % of the clean pictures are "
        f"taken for adversarial. {found['headline']}."
    )
    page.table(
        ["told from clean", "pictures>", "moved>", "nearest class mean>",
         "nearest real pictures>", "confidence>"],
        found["grid"],
    )  # fmt: skip


def _of_detection(model: fs.Classifier, limit: int | None) -> dict[str, Any]:
    images, labels = _test("digits", 1000)
    names = [SETTINGS["digits"].labels[each] for each in labels]
    real = fs.load_images(images, labels=names)
    attack = fs.attack("pgd", eps=SETTINGS["digits"].eps, norm="l2", steps=20)
    led = fs.neurons.adversarial_set(
        model, real.take(LED, first=True), out=_place("digits", "plain", limit) / "led",
        targets=1, attack=attack,
    )  # fmt: skip
    found = fs.neurons.detect(model, real, led, "latent", most=LED, steps=20)
    return {"headline": found.headline, "grid": found.grid}


def _claims(limit: int | None) -> str:
    """The claims of the abstract, beside our numbers."""
    place = _place("digits", "plain", limit)
    inverse, attacks, latents = (
        json.loads((place / f"{name}.json").read_text("utf-8"))
        for name in ("inverse", "attacks", "latents")
    )
    colour = json.loads((_place("cifar", "plain", limit) / "inverse.json").read_text("utf-8"))
    worst = max(inverse["error"], colour["error"])
    inside = inverse["inside"] and colour["inside"]
    latent, pgd = attacks[:2]
    robust = {
        arm: json.loads((_place("digits", arm, limit) / "robust.json").read_text("utf-8"))["apgd"]
        for arm in ("plain", "pgd", "fgsm", "latent")
    }
    passes = {one["name"]: one["forwards"] + 2 * one["backwards"] for one in (latent, pgd)}
    share, noise = latents[0]["shares"][0], latents[-2]["shares"][0]
    return "\n".join([
        f"- Invertible: {held(worst < 1e-4)}, the largest error is {worst:.0e}. Within the bounds: "
        f"{held(inside)}; but they say little, for they are {inverse['low']:.0e} and "
        f"{inverse['high']:.0f} where distances change by {inverse['ratios'][0]:.1f} to "
        f"{inverse['ratios'][1]:.1f} times.",
        f"- A fast attack: {held(passes[latent['name']] < passes[pgd['name']])} in passes "
        f"({passes[latent['name']]:.0f} against {passes[pgd['name']]:.0f} at the same success, for "
        "PGD stops at its first success and each inverse takes many rounds); but it needs no bound "
        f"and no gradient, and its changes are {pgd['l2'] / latent['l2']:.1f} times shorter. Most "
        "of its passes are for steps after the first, which clamping to [0, 1] makes necessary.",
        f"- It speeds up adversarial training: {held(robust['latent'] >= robust['pgd'])}. At equal "
        f"cost {percent(robust['latent'])} survive, against {percent(robust['pgd'])} after PGD and "
        f"{percent(robust['fgsm'])} after FGSM, which takes one gradient; without any it is "
        f"{percent(robust['plain'])}. The direction to the nearest border in the latent is not the "
        "steepest one in pixels.",
        f"- An adversarial picture shows in the latent what moved it: {held(share > 10 * noise)}. "
        f"{percent(share)} of what differs lies in the one direction of "
        f"{SETTINGS['digits'].shape.numbers} that the margin depends on, of noise "
        f"{percent(noise)}.",
    ])  # fmt: skip


def _below(sheets: list[Image.Image]) -> Image.Image:
    whole = Image.new(
        "RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), (255, 255, 255)
    )
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole
