"""The studio: how soon its page moves, how its stream keeps up, what many readers and jobs do.

Networks of full size and their pictures lie in ``../shared``; without them those rows are left out.
"""

import gzip
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

import fluoroscope as fs
from benchmarks import studio_browser
from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import PICTURES, SHARED
from benchmarks.studio_client import Heard, Running, hear, heard_by_many, running
from benchmarks.studio_frames import both_ways
from benchmarks.timing import interleaved

DIGITS: dict[str, Any] = {"kind": "morph", "network": "digits-cnn", "picture": "digits:7",
                          "to": "2", "eps": "0.3"}  # fmt: skip
NETWORKS = ("mobilenet_v2_1.0_224", "mobilenet_v1_0.25_128")
READERS = 50
JOBS = 1000
# Jobs before memory is looked at: what finished jobs left is kept, up to a bound that they reach.
FULL = 50


def studio(scale: Scale) -> Section:
    """Every figure that the studio's page promises."""
    section = Section(PAGE, "studio", "The studio")
    section.text(
        "`fluoroscope studio` in a process of its own on this machine, as a user starts it, and "
        "its clients beside it. Medians of the turns; the worst stands in brackets."
    )
    networks = [one for one in NETWORKS if (SHARED / "models" / one).is_dir()]
    paths = {name: str((SHARED / "models" / name).resolve()) for name in networks}
    words = [word for path in paths.values() for word in ("--also", path)]
    if PICTURES.is_dir():
        words += ["--data", str(PICTURES.resolve())]
    _start(section, scale)
    with running("--model", "digits-cnn", *words) as there:
        _streams(section, scale, there, paths)
        _predictions(section, scale, there, paths)
        _readers(section, scale, there)
        with studio_browser.browser() as browser:
            _painted(section, scale, there, browser)
            _ways_of_frames(section, scale, browser)
    _memory(section, scale)
    _size(section)
    return section


def _start(section: Section, scale: Scale) -> None:
    page, ready = [], []
    for _ in range(1 + (scale.repeats or 7)):
        with running() as there:
            page.append(there.page_after)
            ready.append(there.ready_after)
    section.text(
        "From the command to the page, and to the first answer about the network that it begins "
        "with; the files are in the machine's cache."
    )
    rows = [
        ["the page", _seconds(page[1:]), "3 s"],
        ["a network is ready", _seconds(ready[1:]), ""],
    ]
    section.table(["from the command to", "s>", "at most>"], rows)


def _streams(section: Section, scale: Scale, there: Running, paths: dict[str, str]) -> None:
    """First frame and whole stream, beside the library's own loop."""
    rows = []
    asked = {"digits-cnn": {**DIGITS, "steps": scale.steps or 300}}
    for name, path in paths.items():
        picture = f"{PICTURES.resolve()}:0" if PICTURES.is_dir() else "digits:7"
        steps = {"network": path, "picture": picture, "steps": scale.steps or 60}
        asked[name] = {"kind": "morph", "to": "23", "eps": "8/255", **steps}
    goals = {"digits-cnn": ("150 ms", "1.5 s", ""), NETWORKS[0]: ("600 ms", "", "1.15")}
    for name, one in asked.items():
        heard: list[Heard] = []
        timing = interleaved(
            {
                "studio": _keeping(heard, there, one),
                "library": _loop(one),
            },
            scale.repeats or 7,
            threads=1,
        )
        first = [1000 * each.first_frame for each in heard[1:]]
        whole = [each.whole for each in heard[1:]]
        goal = goals.get(name, ("", "", ""))
        rows.append(
            [f"`{name}`", one["steps"], _thousandths(first), goal[0], _seconds(whole), goal[1],
             f"{timing.ratio('studio', 'library'):.2f}", timing.spread("studio", "library"),
             goal[2]]
        )  # fmt: skip
        if heard[-1].frames < heard[-1].steps:
            raise RuntimeError("a reader that kept up missed frames")
    section.text(
        "A morph asked for by HTTP and heard to its end, every step with its picture and its "
        "difference, and the loop `for step in fluoroscope.morph_stream(…)` on one thread, in turn."
    )
    section.table(
        ["network", "steps>", "first frame, ms>", "at most>", "whole stream, s>", "at most>",
         "÷ own loop>", "quartiles>", "at most>"], rows,
    )  # fmt: skip


def _keeping(heard: list[Heard], there: Running, asked: dict[str, Any]) -> Callable[[], object]:
    return lambda: heard.append(hear(there, **asked))


def _loop(asked: dict[str, Any]) -> Callable[[], object]:
    model = fs.load_model(asked["network"])
    data, _, index = asked["picture"].rpartition(":")
    images = fs.load_images(data, channels=model.channels)
    picture = model.fit(images[int(index)].image[None])
    given = {name: asked[name] for name in ("to", "eps", "steps")}

    def run() -> None:
        for step in fs.morph_stream(model, picture, **given):
            assert step.image is not None

    return run


def _predictions(section: Section, scale: Scale, there: Running, paths: dict[str, str]) -> None:
    rows = []
    for name, path in {"digits-cnn": "digits-cnn", **paths}.items():
        asked = {"network": path, "picture": "digits:7"}
        taken = [_timed(there.client, asked) for _ in range(5 + (scale.limit or 100))][5:]
        rows.append([f"`{name}`", _thousandths(taken)])
    section.text("What a network says of a picture at once, which is asked at every stroke drawn.")
    section.table(["network", "ms>"], rows)


def _timed(client: httpx.Client, asked: dict[str, Any]) -> float:
    began = time.perf_counter()
    client.post("/api/predictions", json=asked).raise_for_status()
    return 1000 * (time.perf_counter() - began)


def _readers(section: Section, scale: Scale, there: Running) -> None:
    many, steps = scale.limit or READERS, scale.steps or 300
    heard = heard_by_many(there, many, 0.01, **DIGITS, steps=steps)
    alone = hear(there, **DIGITS, steps=steps)
    lost = sum(len(set(alone.mattering) - set(one.mattering)) for one in heard)
    frames = sum(one.steps - one.frames for one in heard)
    section.text(
        f"One morph of {steps} steps heard by {many} readers at once, half of them so slow that "
        f"they look at each step for 10 ms: of {many} × {len(alone.mattering)} changes of the "
        f"winner and ends {lost} were lost, of {sum(one.steps for one in heard)} pictures "
        f"{frames}. The last of the fast ones had all after "
        f"{max(one.whole for one in heard[::2]):.1f} s."
    )


def _painted(section: Section, scale: Scale, there: Running, browser: Any) -> None:
    """From the click to the screen."""
    steps, rows = scale.steps or 300, []
    for _ in range(scale.repeats or 7):
        address = f"{there.url}/?network=digits-cnn&picture=digits:7&to=3&eps=0.3&steps={steps}"
        with studio_browser.watched(browser, address) as page:
            rows.append(studio_browser.morphed(page, "2", steps))
    section.text(
        f"The same morph of {steps} steps in the browser: Chromium without a graphics card, on "
        "the cores that also run the studio."
    )
    section.table(
        ["", "median (worst)>", "at most>"],
        [
            ["from the click to the first picture on the screen, ms",
             _thousandths([row["first"] for row in rows]), "150 ms"],
            ["from the click to the last step's arrival, s",
             _seconds([row["arrived"] / 1000 for row in rows]), "1.5 s"],
            ["pictures painted in each second while it is played",
             _thousandths([row["rate"] for row in rows]), ""],
            ["longest task meanwhile, ms", _thousandths([row["longest"] for row in rows]), "50 ms"],
        ],
    )  # fmt: skip


def _ways_of_frames(section: Section, scale: Scale, browser: Any) -> None:
    rows = []
    for side, channels in ((28, 1), (224, 3)):
        count = scale.steps or 300
        timing = both_ways(browser, side, channels, count, scale.repeats or 7)
        each = {name: 1000 * timing.median(name) / count for name in ("text", "bytes")}
        rows.append([f"{side}×{side}, {channels} channel{'s' * (channels > 1)}",
                     f"{each['text']:.2f}", f"{each['bytes']:.2f}",
                     f"{timing.ratio('text', 'bytes'):.2f}",
                     timing.spread("text", "bytes")])  # fmt: skip
    section.text(
        "Pictures as base64 in server-sent events, against bytes in the stream that the page "
        "reads: milliseconds of one from the server to an `ImageData` in the browser."
    )
    section.table(["picture", "base64, ms>", "bytes, ms>", "÷>", "quartiles>"], rows)


def _memory(section: Section, scale: Scale) -> None:
    full, jobs = scale.limit or FULL, scale.limit or JOBS
    with running() as there:
        for _ in range(full):
            hear(there, **DIGITS, steps=10)
        before = there.resident()
        for _ in range(jobs):
            hear(there, **DIGITS, steps=10)
        after = there.resident()
    section.text(
        f"Memory of the process after {full} jobs, when what is kept of finished ones is as much "
        f"as ever is, and after {jobs} more: {before:.0f} MB and {after:.0f} MB, "
        f"{100 * (after / before - 1):+.1f} % (at most 5 %)."
    )


def _size(section: Section) -> None:
    page = Path(str(files("fluoroscope.studio") / "page"))
    loaded = [path for path in page.rglob("*") if path.suffix in (".html", ".js", ".css", ".svg")]
    packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in loaded)
    section.text(f"The page takes {packed / 1000:.1f} kB compressed (at most 120 kB).")


def _seconds(values: Iterable[float]) -> str:
    given = list(values)
    return f"{statistics.median(given):.2f} ({max(given):.2f})"


def _thousandths(values: Iterable[float]) -> str:
    given = list(values)
    return f"{statistics.median(given):.0f} ({max(given):.0f})"
