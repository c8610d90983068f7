"""The audit on Captum's maps, on honest methods, and on pretrained networks.

``python -m reproductions.attribution_audit captum NETWORK ...`` (or ``honest``, or ``pretrained``)
prints the rows of some networks and writes nothing; names are those of
:data:`reproductions.networks.NETWORKS`, or folders of networks.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median

import fluoroscope as fs
from benchmarks.page import Section
from fluoroscope.attribution.audit.faithfulness import Score
from fluoroscope.attribution.audit.result import Audit, score_words
from fluoroscope.attribution.names import METHODS
from fluoroscope.notices import collected
from fluoroscope.words import count, listed
from reproductions.networks import NETWORKS, TORCHVISION, specimen
from reproductions.sources import IMAGENET, PAGE, SHARED, held

CAPTUM = ("captum:guided-backprop", "captum:deep-lift", "captum:lrp")
EXACTLY_THE_GRADIENT = (
    "googlenet", "inception_v3", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_b_16",
    "swin_t",
)  # fmt: skip
"""Networks on which Captum hooks no activation at all."""
PRETRAINED = tuple(sorted((SHARED / "models").glob("*"))) if SHARED.is_dir() else ()
GUIDE = Path("docs/attribution.md")
PICTURES = 100
# Passes of a method for maps that are scored: of the small network all pictures' maps are.
SMALL, ALL, SOME = 128, 1e9, 1_000.0
_METRICS = ("srg", "insertion", "deletion", "road")


def captum_section(names: Iterable[str] = TORCHVISION) -> Section:
    """What the audit says of Captum's maps."""
    page = Section(PAGE, "attribution-captum", "The audit of Captum's maps")
    page.text(
        "`fluoroscope audit` on maps by Captum, two pictures of noise and seeded weights as above. "
        "A failure is *flagged* where the verdict is anything but valid. Guided backpropagation is "
        "the plain gradient on seven of these networks, which is to be said in these words."
    )
    page.table(["network", *CAPTUM, "flagged"], map(captum_row, names))
    return page


def honest_section(names: Iterable[str] = NETWORKS) -> Section:
    """What it says of methods that are right."""
    page = Section(PAGE, "attribution-honest", "The audit of our own maps")
    page.text(
        "The same on our own methods, which are right on all of these networks; *not valid*, or a "
        "*partly* for another reason than an operation without a rule, relevance that is lost or "
        "points that are too few, would be a false alarm."
    )
    page.table(["network", "valid>", "partly", "same map", "not valid"], map(honest_row, names))
    return page


def scores_section(places: Iterable[Path] = PRETRAINED) -> Section:
    """Which methods name the pixels that pretrained networks depend on."""
    page = Section(GUIDE, "attribution-scores", "Which method on which network: measured")
    for place in places:
        found = audited(place)
        page.text(
            f"`{place.name}`, up to {count(PICTURES, 'picture')} of ImageNet (of ROAD fewer), "
            "means and 95 % intervals by bootstrap over pictures:"
        )
        page.table(["method", "verdict", "pictures>", *(f"{m}>" for m in _METRICS)], scores(found))
        page.text(conclusion(found))
    return page


def look(name: str, methods: Iterable[str]) -> Audit:
    """The verdicts alone, on a network of noise."""
    case = specimen(name)
    with collected():
        return fs.audit(
            case.model, case.images, methods=[*methods], randomisation=False, faithfulness=False
        )


def captum_row(name: str) -> list[str]:
    """What the audit says of Captum's maps on a network, and whether nothing is missing."""
    found = look(name, ["gradient", "gradient-x-input", *CAPTUM])
    words = {method: found.verdict(method).words for method in CAPTUM}
    kind = name.partition(":")[2]
    right = (words[CAPTUM[0]] == "the same map as gradient") == (kind in EXACTLY_THE_GRADIENT)
    for method in CAPTUM[1:]:
        seen = found.of(method).evidence
        broken = bool(seen.refused) or max(seen.error, default=0.0) > seen.tolerance
        right &= (words[method] != "valid") or not broken
    return [kind, *words.values(), held(right)]


def honest_row(name: str) -> list[str]:
    """What it says of ours."""
    found = look(name, METHODS)

    def of(word: str) -> str:
        return ", ".join(row.verdict.method for row in found.rows if row.verdict.word == word)

    valid = sum(row.verdict.passed for row in found.rows)
    return [
        name, f"{valid} of {len(found.rows)}",
        of("partly"), of("the same map as"), of("not valid here"),
    ]  # fmt: skip


def audited(place: Path, pictures: int = PICTURES) -> Audit:
    """A whole audit of a pretrained network on pictures of ImageNet."""
    model = fs.load_model(place)
    images = fs.load_images(IMAGENET, "validation", channels=model.channels).take(pictures)
    batch = next(images.batches(pictures, fit=model.preprocessing))
    with collected():
        return fs.audit(
            model, batch.images, numbers=batch.indices,
            randomisation=False, scored_passes=ALL if batch.images.shape[-1] <= SMALL else SOME,
        )  # fmt: skip


def scores(found: Audit) -> list[list[str]]:
    """A method or control a row."""
    rows = [[row.verdict.method, row.verdict.words, *_scores(row.scores)] for row in found.rows]
    return rows + [[name, "control", *_scores(of)] for name, of in found.controls.items()]


def _scores(of: Mapping[str, Score]) -> list[str]:
    """By how many pictures, and the scores."""
    pictures = str(of["srg"].pictures) if "srg" in of else ""
    return [pictures, *(score_words(of.get(metric)) for metric in _METRICS)]


def conclusion(found: Audit) -> str:
    """Which to prefer on this network, as far as the numbers carry it."""
    best = [name for name in found.best if "srg" in found.of(name).scores][:3]
    said = [f"{words}." for words in found.telling.values()]
    if not found.valid:
        return " ".join(["No method passed.", *said])
    if found.ranked_by != "srg":
        return " ".join(["The relevance gain ranks nothing here.", *said])
    gains = [found.of(name).scores["srg"] for name in best]
    named = listed([f"{name} ({gain.mean:.2f})" for name, gain in zip(best, gains, strict=True)])
    middle = median(row.scores["srg"].mean for row in found.rows if "srg" in row.scores)
    return " ".join(
        [
            f"Of the valid ones {named} have the highest relevance gain (the median method "
            f"{middle:.2f}).",
            *said,
        ]
    )


def main() -> None:
    """Print the rows of some networks."""
    what, *names = sys.argv[1:] or ("",)
    rows: dict[str, Callable[[str], list[str]]] = {"captum": captum_row, "honest": honest_row}
    for name in names:
        if what in rows:
            print(*rows[what](name), sep=" | ", flush=True)
        else:
            found = audited(Path(name), 8)
            for row in scores(found):
                print(*row, sep=" | ", flush=True)
            print(conclusion(found))


if __name__ == "__main__":
    main()
