"""Two measures beside an evaluation: transfer between networks, and common corruptions."""

from collections.abc import Mapping, Sequence

import torch

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.attacks.attack import Method
from fluoroscope.evaluation.corruptions.table import corruption_figure, corruption_strip
from fluoroscope.evaluation.transfer import Share, transfer_figure
from fluoroscope.pictures.maps import write_figure
from reproductions.cifar import CIFAR, cifar_network
from reproductions.sources import IMAGENET, PAGE, SHARED
from reproductions.transfer import MODELS

SEED = 0
SMALL, LARGE = 200, 20
"""Pictures of MNIST or CIFAR-10, and of the ImageNet sample."""
STEPS = 10


def transfer_section() -> Section:
    """What was made on one network and read by another."""
    page = Section(PAGE, "transfer-matrix", "Transfer matrices")
    page.text(
        f"`fluoroscope transfer`: MI-FGSM, {STEPS} steps (seed {SEED}), on each network, and every "
        "network reads what came of it. A cell is the share, in %, of the pictures that both "
        "networks classified correctly before which the one of the column then misclassifies, with "
        "Wilson's 95 % interval; on the diagonal, the network itself. *Under the others*: "
        "classified correctly as it is, and as made on every other network; *under all*: and on "
        "itself."
    )
    _transfer(page, "digits", _digits(), _mnist(), "0.2", f"first {SMALL} of MNIST test")
    _transfer(page, "cifar", _cifar(), _cifar10(), "8/255", f"first {SMALL} of CIFAR-10 test")
    sample = f"{LARGE} of the ImageNet sample, at 224×224; smaller networks see them stretched"
    _transfer(page, "mobilenets", _mobilenets(), _imagenet(), "8/255", sample)
    return page


def corruption_section() -> Section:
    """Accuracy under noise, blur and compression."""
    page = Section(PAGE, "corruption", "Common corruptions")
    page.text(
        "`fluoroscope corrupt`: the fifteen corruptions of Hendrycks and Dietterich (2019) at "
        f"their five severities (seed {SEED}); in %, the mean over the severities, and before them "
        "the mean over everything, with an interval that takes all predictions for a picture as "
        "one. Digits are shown on both scales. Frost is drawn, and the pictures are the network's "
        "own: what differs from the published files stands in "
        "`fluoroscope.evaluation.corruptions`, and what is called mCE here is not theirs."
    )
    _corruption(page, _digits(), _mnist(), ("cifar-10-c", "imagenet-c"), f"first {SMALL} of MNIST")
    _corruption(page, _cifar(), _cifar10(), ("cifar-10-c",), f"first {SMALL} of CIFAR-10 test")
    _corruption(page, _mobilenets(), _imagenet(), ("imagenet-c",), f"{LARGE} of ImageNet's sample")
    return page


def _transfer(
    page: Section,
    file: str,
    models: Mapping[str, fs.Classifier],
    data: fs.ImageSet,
    eps: str,
    words: str,
) -> None:
    attack: Method = fs.attack("mi-fgsm", eps=eps, steps=STEPS)
    fast = [fs.prepare(model) for model in models.values()]
    matrix = fs.transfer_matrix(fast, data, attack, seed=SEED, batch_size=50)
    page.text(f"**{words}, Linf {eps}**:")
    below: Sequence[tuple[str, tuple[Share, ...]]] = (
        ("*as they are*", matrix.clean),
        ("*under the others*", matrix.under_others),
        ("*under all*", matrix.under_all),
    )
    rows = [*zip((f"made on `{name}`" for name in models), matrix.fooled, strict=True), *below]
    page.table(
        ["", *(f"`{name}`>" for name in models)],
        [[name, *map(_cell, cells)] for name, cells in rows],
    )
    path = page.picture(f"transfer-{file}.png", f"Which networks are fooled: {words}.")
    write_figure(path, transfer_figure(matrix))


def _corruption(
    page: Section,
    models: Mapping[str, fs.Classifier],
    data: fs.ImageSet,
    scales: tuple[str, ...],
    words: str,
) -> None:
    columns = []
    for scale in scales:
        for name, model in models.items():
            table = fs.corruption_accuracy(model, data, scale=scale, seed=SEED, batch_size=50)  # type: ignore[arg-type]
            low, high = table.mean_interval
            mean = f"{100 * table.mean_accuracy:.1f} ({100 * low:.0f}–{100 * high:.0f})"
            cells = {
                "severities of": scale,
                "*clean*": f"{100 * table.clean_accuracy:.1f}",
                "*mean*": mean,
            }
            cells |= {row.corruption: f"{100 * row.mean_accuracy:.1f}" for row in table.rows}
            if table.mce is not None:
                cells[f"*{table.mce.name}*"] = f"{100 * table.mce.mce:.1f}"
            columns.append((name, cells))
    page.text(f"**{words}**:")
    page.table(
        ["", *(f"`{name}`>" for name, _ in columns)],
        [[what, *(cells[what] for _, cells in columns)] for what in columns[0][1]],
    )
    file = f"corruption-{name}.png".replace("_", "-")
    write_figure(page.picture(file, f"{name}: accuracy by severity."), corruption_figure(table))
    if model.channels != 1:
        return  # Photographs of the data sets are not ours to show.
    first = data[0]
    strip = corruption_strip(model.fit(first.image), table, first.index)
    write_figure(page.picture(f"corrupted-{file[11:]}", "A picture at each severity."), strip)


def _cell(share: Share) -> str:
    if share.share is None:
        return "–"
    low, high = share.interval
    return f"{100 * share.share:.0f} ({100 * low:.0f}–{100 * high:.0f})"


def _digits() -> dict[str, fs.Classifier]:
    names = ("digits-linear", "digits-cnn", "digits-robust")
    return {name: fs.load_model(name) for name in names}


def _cifar() -> dict[str, fs.Classifier]:
    return {name: cifar_network(name) for name in ("cifar-plain", "cifar-robust")}


def _mobilenets() -> dict[str, fs.Classifier]:
    return {name: fs.load_model(SHARED / "models" / name) for name in MODELS}


def _mnist() -> fs.ImageSet:
    return fs.load_images(SHARED / "data" / "mnist", "test", channels=1).take(SMALL)


def _cifar10() -> fs.ImageSet:
    return fs.load_images(CIFAR, "test").take(SMALL)


def _imagenet() -> fs.ImageSet:
    sample = fs.load_images(IMAGENET)
    order = torch.randperm(len(sample), generator=torch.Generator().manual_seed(SEED))
    return sample.select(order[:LARGE])
