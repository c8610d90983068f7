"""One thing for many pictures: a universal perturbation, and a patch to be printed."""

import torch
from torch import Tensor

import fluoroscope as fs
from benchmarks.page import Section, percent
from fluoroscope.attacks.universal.patch import Patch
from fluoroscope.attacks.universal.perturbation import UniversalPerturbation
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.threats import Linf
from fluoroscope.pictures.pairs import pair_sheet
from fluoroscope.pictures.write import enlarged, to_pil, write_png
from reproductions.sources import IMAGENET, PAGE, SHARED, imagenet

SEED = 0
NETWORK = "MobileNet v1 0.25 at 128"
FOLDER = SHARED / "models" / "mobilenet_v1_0.25_128"
BATCH = 50
PICTURES = 1000
FIT = 400
"""How many of them are learnt from; all others are judged."""
EPS = "10/255"
EPOCHS, PATCH_EPOCHS, PATCH_BATCH = 10, 25, 16
TARGET, SHARE, SCALING = "toaster", 0.2, 0.1
SHOWN = 5
PAPER = "93.3, 93.7, 78.3, 77.8, 78.9, 84.0 %"
"""Table 1 of Moosavi-Dezfooli et al. (2017), Linf, validation set."""


def section() -> Section:
    """All of it."""
    page = Section(PAGE, "universal", "One perturbation, one patch for all pictures")
    plain = fs.load_model(FOLDER)
    model = fs.prepare(plain)
    images = _pictures(model)
    read = fs.predict(plain, images, batch_size=BATCH).winners
    page.text(
        f"{NETWORK} pixels, on {len(images)} of the ImageNet sample's pictures in random order "
        f"(seed {SEED}): learnt from the first {FIT}, judged on the other {len(images) - FIT}. No "
        "label is used: what counts is whether the network's own reading changes. In brackets the "
        "95 % interval of Wilson."
    )
    _perturbation(page, model, images, read)
    _patch(page, model, images, read)
    return page


def _pictures(model: fs.Classifier) -> Tensor:
    sample = fs.load_images(IMAGENET)
    order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(SEED))
    chosen = sample.select(order[:PICTURES])
    return torch.cat([b.images for b in chosen.batches(BATCH, fit=model.preprocessing, workers=0)])


def _perturbation(page: Section, model: fs.Classifier, images: Tensor, read: Tensor) -> None:
    attack = UniversalPerturbation(threat=Linf(EPS), epochs=EPOCHS)
    fitted = attack.fit(model, images[:FIT], read[:FIT], seed=SEED)
    change = fitted.perturbation
    assert change is not None
    signs = torch.randint(0, 2, change.shape, generator=torch.Generator().manual_seed(SEED))
    noise = UniversalPerturbation(
        threat=Linf(EPS), perturbation=float(Linf(EPS).eps) * (2.0 * signs - 1)
    )
    rows = []
    for name, each in (("universal perturbation", fitted), ("random signs", noise)):
        seen = each(model, images[:FIT], read[:FIT], batch_size=BATCH)
        unseen = each(model, images[FIT:], read[FIT:], batch_size=BATCH)
        becomes = unseen.logits[unseen.success].argmax(1)
        most = f"{model.labels[int(becomes.mode().values)]}" if len(becomes) else "–"
        often = int((becomes == becomes.mode().values).sum()) if len(becomes) else 0
        rows.append(
            [name, percent(float(seen.success.float().mean())), _rate(unseen.success),
             f"{most} ({often})"]
        )  # fmt: skip
        if each is fitted:
            pairs = unseen.pairs(model.labels, SHOWN)
    page.text(
        f"**A universal perturbation**, {EPS} in Linf, made in {EPOCHS} passes over the {FIT} "
        f"pictures. The paper's fooling rates on pictures not seen, at the same bound, are {PAPER} "
        "(CaffeNet, VGG-F, VGG-16, VGG-19, GoogLeNet, ResNet-152): large networks at 224, learnt "
        "from 10,000 pictures and judged on 50,000. This network is small and its pictures are a "
        "third as large in area, and it is easily fooled: the rates are beside each other, not "
        "against each other."
    )
    page.table(
        ["added to each", "fooled, seen>", "fooled, not seen>", "mostly becomes (how often)"], rows
    )
    path = page.picture("universal.png", "Five pictures before and after, all changed alike.")
    write_png(path, pair_sheet(pairs))
    loud = page.picture("universal-amplified.png", "The perturbation, amplified around mid-grey.")
    write_png(loud, enlarged(to_pil(fitted.pictures()["-amplified"]), 384))


def _patch(page: Section, model: fs.Classifier, images: Tensor, read: Tensor) -> None:
    target = model.find_class(TARGET)
    others = read != target
    images, wanted = images[others], torch.full((int(others.sum()),), target)
    attack = Patch(share=SHARE, scaling=SCALING, epochs=PATCH_EPOCHS)
    fitted = attack.fit(
        model, images[:FIT], wanted[:FIT], targeted=True, batch_size=PATCH_BATCH, seed=SEED
    )
    assert fitted.patch is not None
    side = fitted.patch.shape[-1]
    photograph = torch.nn.functional.interpolate(
        imagenet(model, TARGET)[None], (side, side), mode="bilinear", antialias=True
    )[0].clamp(0, 1)
    control = Patch(share=SHARE, scaling=SCALING, patch=photograph)
    rows = []
    for name, each in (("the patch", fitted), (f"a photograph of a {TARGET}", control)):
        result = each(
            model,
            images[FIT:],
            wanted[FIT:],
            targeted=True,
            keep="last",
            batch_size=BATCH,
            seed=SEED,
        )
        probability = result.logits.softmax(1)[:, target]
        changed = result.logits.argmax(1) != read[others][FIT:]
        rows.append(
            [name, _rate(result.success), f"{float(probability.median()):.3f}", _rate(changed)]
        )
        if each is fitted:
            pairs = result.pairs(model.labels, SHOWN)
    page.text(
        f"**A patch that says {TARGET}**: a disc of {percent(SHARE, 0)} of the area (its width "
        f"drawn within {percent(SCALING, 0)}), turned by up to {fitted.rotation} degrees, at a "
        f"random place of each picture; fitted in {PATCH_EPOCHS} passes over {FIT} pictures and "
        "put once on each of the others. The control is the sample's own photograph, cut out alike."
    )
    page.table(
        ["put on each", f"predicted as {TARGET}>", f"median p({TARGET})>", "reading changes>"], rows
    )
    if pairs:
        path = page.picture("patch.png", f"Pictures with the patch, predicted as a {TARGET}.")
        write_png(path, pair_sheet(pairs))
    print_ready = page.picture("patch-print.png", "The patch, to be printed.")
    write_png(print_ready, fitted.pictures()["-print"])


def _rate(success: Tensor) -> str:
    """A share and its 95 % interval."""
    low, high = wilson(int(success.sum()), len(success))
    return f"{percent(float(success.float().mean()))} ({100 * low:.1f} to {100 * high:.1f})"
