"""The pictures in README.md, docs/report.md, docs/inversion.md, docs/neurons.md and
docs/training.md.

Written by ``make pictures``; one alone by ``python -m reproductions.docs_pictures NAME``.

The photograph is Chelsea, the cat of scikit-image, by Stéfan van der Walt (CC0). Full-size networks
and the sample of ImageNet lie in ``../shared``; of that sample no picture is shown. Pages are
photographed in Chromium.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from skimage.data import chelsea

import fluoroscope as fs
from fluoroscope.attacks.morph_result import morph_figure
from fluoroscope.files import atomic_path
from fluoroscope.inversion.generator.sample_files import sample_sheet
from fluoroscope.neurons.answers.sheets import sheet
from fluoroscope.pictures.attributions import attribution_sheet
from fluoroscope.pictures.maps import write_figure
from fluoroscope.pictures.tile_sheet import Tile, tile_sheet
from reproductions import training_consistent
from reproductions.sources import IMAGENET, NETWORKS
from reproductions.training_depth import WEIGHTS, judged, units_figure

README = Path("docs/readme")
REPORT = Path("docs/report")
INVERSION = Path("docs/inversion")
NEURONS = Path("docs/neurons")
TRAINING = Path("docs/training")
SEED = 0
# A laptop's window, and a phone's.
LAPTOP, PHONE = (1280, 800), (390, 780)


def cat() -> None:
    """A cat that a full-size network takes for a vulture at 2/255, and its curve."""
    model = fs.load_model(NETWORKS["MobileNet v2 1.0"])
    photograph = model.fit(torch.from_numpy(chelsea()).permute(2, 0, 1)[None] / 255)
    morph = fs.morph(
        model, photograph, to="vulture", eps="2/255", step_size="0.5/255", steps=12, on_grid=True,
        seed=SEED,
    )  # fmt: skip
    slide = morph.slide()
    slide.thumbnail((1600, 1600), Image.Resampling.LANCZOS)  # a README is no wider
    _write(slide, README / "cat.webp")
    write_figure(README / "cat-curve.png", morph_figure(morph))


def turning() -> None:
    """The cat on its way to the vulture: which units changed sides at each way station."""
    model = fs.load_model(NETWORKS["MobileNet v2 1.0"])
    photograph = model.fit(torch.from_numpy(chelsea()).permute(2, 0, 1)[None] / 255)
    morph = fs.morph(
        model, photograph, to="vulture", eps="2/255", step_size="0.25/255", steps=20, seed=SEED
    )
    found = fs.neurons.along(model, morph)
    print(found.summary)
    with TemporaryDirectory() as folder:
        file = write_figure(Path(folder) / "bands.png", found.figure())
        with Image.open(file) as picture:
            _write(picture.convert("RGB"), README / "turning.webp")


def maps() -> None:
    """Why a 5 is taken for a 3: both classes, and the one rather than the other."""
    model = fs.load_model("digits-cnn")
    five = fs.open_image("digits:5", channels=1).image
    targets: list[int | tuple[int, int]] = [3, 5, (3, 5)]
    columns, rows, answer = [], [""], ""
    for method in ("gradient", "integrated-gradients", "deeplift", "lrp", "layer-cam"):
        made = [fs.attribute(model, five, to, method=method, seed=SEED) for to in targets]
        both = replace(
            made[0],
            maps=torch.cat([one.maps for one in made]),
            error=torch.cat([one.error for one in made]),
            record=made[0].record | {"answers": [one.record["answers"][0] for one in made]},
        )
        rows, answer = [one.spoken(0) for one in made], made[0].answer(0)
        columns.append(both.column([0, 1, 2]))
    sheet = attribution_sheet(columns, rows, [five, None, None], [answer])
    with TemporaryDirectory() as folder:
        file = write_figure(Path(folder) / "sheet.png", sheet)
        with Image.open(file) as picture:
            _write(picture.convert("RGB"), README / "attribution.webp")


def portraits() -> None:
    """What a network believes digits look like, as the command makes it with three samples."""
    model, samples = fs.load_model("digits-cnn"), 3
    found = fs.portrait(
        model,
        [digit for digit in range(10) for _ in range(samples)],
        numbers=torch.arange(samples).repeat(10),
        seed=SEED,
    )
    judged = found.judged_by(fs.load_model("digits-robust"))
    _write(judged.gallery(), INVERSION / "portraits.webp")
    first = [
        Tile(found.images[row], [f"{judged.name(row)}: {judged.said(row)[0]}", judged.said(row)[1]])
        for row in range(0, len(found.images), samples)
    ]
    _write(tile_sheet([first[:5], first[5:]], ["", ""]), README / "portraits.webp")


def generators() -> None:
    """What generators make of a plain network and of a robust one, as the command trains them."""
    sheets = []
    for name in ("digits-cnn", "digits-robust"):
        model = fs.load_model(name)
        made = fs.invert(model, seed=SEED).sample(n=6, seed=SEED)
        said = fs.predict(model, made.images).probabilities
        sure = said.gather(1, made.classes[:, None])[:, 0]
        sheets.append(
            sample_sheet(made.images, made.classes, made.labels, title=name, confidence=sure)
        )
    _write(_beside(sheets), INVERSION / "generators.webp")


def _beside(sheets: list[Image.Image]) -> Image.Image:
    """Sheets of one height, from left to right, no wider than a page shows."""
    found = Image.new("RGB", (sum(one.width for one in sheets), sheets[0].height), "white")
    for number, one in enumerate(sheets):
        found.paste(one, (sum(other.width for other in sheets[:number]), 0))
    found.thumbnail((1600, 1600), Image.Resampling.LANCZOS)
    return found


def units() -> None:
    """Two units with the digits that they answer to most, real and adversarial, as the commands
    ``neurons adversarial`` and ``neurons show --against`` do."""
    model, images = fs.load_model("digits-cnn"), fs.load_images("digits", channels=1).take(500)
    with TemporaryDirectory() as folder:
        led = fs.neurons.adversarial_set(model, images, out=folder, targets=2, seed=SEED)
        shown = [
            fs.neurons.top_pictures((model, each, "5"), [5, 26], n=5) for each in (images, led)
        ]
        _write(_beside([sheet(*shown, units=[unit]) for unit in (5, 26)]), NEURONS / "units.webp")


def depth() -> None:
    """What units answer to that were trained for depth alone, and beside them selective ones."""
    figure = units_figure(*(judged(weight, SEED) for weight in WEIGHTS))
    with TemporaryDirectory() as folder:
        file = write_figure(Path(folder) / "units.png", figure)
        with Image.open(file) as picture:
            _write(picture.convert("RGB"), TRAINING / "depth-units.webp")


def consistent() -> None:
    """What the unit in the middle by CS1 answers to, real and moved, without a consistent loss and
    with it, in networks of the reproductions that learnt from the same digits."""
    sheets, seed = [], 1
    for arm in ("plain", "consistent, 1"):
        model = training_consistent.network("digits", arm, seed)
        found = training_consistent.meaning("digits", arm, seed).units["cs1"]
        unit = int(np.argsort(np.nan_to_num(found))[len(found) // 2])
        layer = training_consistent.SETTINGS["digits"].layer
        shown = [
            fs.neurons.top_pictures((model, each, layer), [unit], n=4)
            for each in training_consistent.pictures("digits", arm, seed)
        ]
        sheets.append(sheet(*shown, units=[unit]))
    _write(_beside(sheets), TRAINING / "consistent.webp")


def digits() -> None:
    """The report of a built-in network, as ``make demo`` makes it; on a laptop and on a phone."""
    images = fs.load_images("digits", channels=1).take(300)
    page = fs.xray(fs.prepare(fs.load_model("digits-robust")), images, seed=SEED)
    _photograph(page, REPORT / "first-screen.webp", LAPTOP)
    _photograph(page, REPORT / "phone.webp", PHONE, at="#curve")
    _photograph(page, REPORT / "pictures.webp", LAPTOP, at="#pictures")
    _photograph(page, REPORT / "map-dark.webp", LAPTOP, at="#map", dark=True)


def network() -> None:
    """The report of a full-size network: what is seen first."""
    model = fs.prepare(fs.load_model(NETWORKS["MobileNet v2 1.0"]))
    images = fs.load_images(IMAGENET).take(100)
    sections = ["verdict", "clean", "curve", "next"]
    page = fs.xray(model, images, threat="linf:2/255", sections=sections, seed=SEED)
    _photograph(page, README / "report.webp", LAPTOP)


def latent() -> None:
    """What an attack changes in the latent of an invertible network for digits, as pictures."""
    from reproductions.training_invertible import example

    TRAINING.mkdir(exist_ok=True)
    with atomic_path(TRAINING / "latent.png") as draft:
        example().sheet().save(draft, "PNG")


def _photograph(
    page: fs.Report, path: Path, size: tuple[int, int], *, at: str = "", dark: bool = False
) -> None:
    """What a window of this size shows of the page, from the section ``at`` on."""
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = page.save(Path(folder) / "page.html").absolute()
        browser = playwright.chromium.launch(
            executable_path=_chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, device_scale_factor=1.5,
            color_scheme="dark" if dark else "light",
        )  # fmt: skip
        window.goto(file.as_uri())
        for _ in range(3 if at else 0):  # what is laid out on the way moves it
            window.evaluate("at => document.querySelector(at).scrollIntoView()", at)
            window.wait_for_timeout(300)
        shot = Path(folder) / "shot.png"
        window.screenshot(path=str(shot))
        browser.close()
        with Image.open(shot) as picture:
            _write(picture.convert("RGB"), path)


def _chromium() -> str:
    from shutil import which

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(which, names)), None)
    if found is None:
        sys.exit(f"the pages are photographed in a browser; expected one of {', '.join(names)}")
    return found


def _write(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as draft:
        picture.save(draft, "WEBP", quality=88, method=6)
    print(f"wrote {path} ({path.stat().st_size / 1e3:.0f} kB)")


PICTURES: dict[str, Callable[[], None]] = {
    "cat": cat, "turning": turning, "maps": maps, "portraits": portraits,
    "generators": generators, "digits": digits, "network": network, "units": units,
    "consistent": consistent, "latent": latent, "depth": depth,
}  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()
