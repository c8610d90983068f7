"""What to do next, from what was found, and how to repeat it."""

from collections.abc import Iterator
from math import ceil
from typing import Any

from fluoroscope.report.blocks import Code, Content, Facts, Heading, Step, Steps, Text
from fluoroscope.report.registry import section
from fluoroscope.report.sections.corruptions import spoken
from fluoroscope.report.study import Study
from fluoroscope.words import count, listed, percent

# A verdict is sharp enough from this half width on; so many pictures give it in the worst case.
_SHARP = 0.05
_SHARPER = ceil(0.25 * (1.96 / 0.03) ** 2)
# The lead of a misclassified picture's probability from which its label deserves a look.
_SURE = 0.9
# A corruption's upper end lies so far below the others' mean where it is worth a step of its own.
_FAR_WORSE = 0.1


@section("next", "What to do next", order=90, cost=1000, free=True)
def next_steps(study: Study) -> Content:
    steps = [
        step
        for rule in (
            *(_trust, _harden, _confirm, _sharpen, _calibrate, _labels, _neighbours),
            *(_corruption, _maps),
        )
        for step in rule(study)
    ]
    blocks = [
        Steps(steps)
        if steps
        else Text("Nothing that was found calls for anything. Look again when the network changes.")
    ]
    return Content(
        [*blocks, Heading("How to repeat it"), *_repeat(study)],
        {"steps": [{"title": one.title, "why": one.text, "command": one.command} for one in steps]},
    )


def _verdict(study: Study) -> dict[str, Any] | None:
    return study.data.get("verdict")


def _trust(study: Study) -> Iterator[Step]:
    found = _verdict(study) or {}
    failed = [check for check in found.get("trust", []) if check["status"] == "fail"]
    if failed:
        names = listed([check["name"] for check in failed])
        yield Step(
            "Find out what hides the network from attacks before you quote its robustness",
            f"These checks failed: {names}. Until they pass, the true accuracy under attack may be "
            "far below the one above. Preprocessing that rounds, draws at random or cuts the "
            "gradient is the usual cause; fs.BPDA and fs.EOT see through it.",
        )


def _harden(study: Study) -> Iterator[Step]:
    found = _verdict(study)
    if found is None or not found["clean_accuracy"]:
        return
    lost = 1 - found["robust_accuracy"] / found["clean_accuracy"]
    if lost < 0.5:
        return
    eps, snippet = study.ruler.short(study.eps), ""
    if study.model.outputs == "logits":
        normalised = study.model.preprocessing
        plain = normalised.mean is None and normalised.std is None
        snippet = (
            "import fluoroscope as fs\nfrom fluoroscope import training\n"
            + (
                ""
                if plain
                else "# images in [0, 1]: let the network's first layer normalise them\n"
            )
            + f'harden = training.PGDLoss(threat=fs.{type(study.threat).__name__}("{eps}"))\n'
            "training.fit(network, images, labels, loss=harden)"
        )
    yield Step(
        "Train it against attacks, if somebody could want to fool it",
        f"Attacks within {study.bound} take {percent(lost, 0)} of what it classifies correctly, as "
        "they do of any network that was trained on clean pictures alone. Adversarial training is "
        "the defence that has held up; it costs several times the training and some clean "
        "accuracy. Begin below the bound you want, and make this report again."
        + ("" if snippet else " Our training takes networks that return logits, one a class."),
        snippet,
    )


def _confirm(study: Study) -> Iterator[Step]:
    found = _verdict(study)
    if found is None or found["robust_accuracy"] < 0.05:
        return
    threat = f"{study.threat.name}:{study.ruler.short(study.eps)}"
    yield Step(
        "Confirm the number before you publish it",
        "AutoAttack's standard plan takes longer and is what others quote.",
        f"fluoroscope evaluate {study.named} --threat {threat} --plan standard --out out/standard"
        if study.named
        else "import fluoroscope as fs\n"
        f'fs.evaluate(model, images, threat="{threat}", plan="standard", out="out/standard")',
    )


def _sharpen(study: Study) -> Iterator[Step]:
    found = _verdict(study)
    if found is None:
        return
    low, high = found["robust_interval"]
    if (high - low) / 2 > _SHARP and found["count"] < _SHARPER:
        yield Step(
            f"Look at more pictures: about {_SHARPER:,} pin the number down to ±3 points",
            f"On {count(found['count'], 'picture')} the accuracy under attack is only known to lie "
            f"between {percent(low)} and {percent(high)}.",
        )


def _calibrate(study: Study) -> Iterator[Step]:
    found = study.data.get("clean")
    if found is None or found["calibration_error"] <= max(
        found["calibration_error_by_chance"], 0.03
    ):
        return
    yield Step(
        "Calibrate its probabilities, if anything is decided by them",
        f"They are off by {percent(found['calibration_error'])} on average. Dividing the logits by "
        "one number (temperature scaling) mostly mends that; fit it on pictures that this report "
        "did not see.",
    )


def _labels(study: Study) -> Iterator[Step]:
    if "clean" not in study.data:
        return
    reading = study.reading
    sure = (~reading.right & (reading.confidence > _SURE)).nonzero().squeeze(1).tolist()
    if sure:
        indices = [study.picture(study.images.indices[row]) for row in sure]
        shown = listed(indices if len(indices) <= 6 else [*indices[:5], f"{len(indices) - 5} more"])
        yield Step(
            "Check the labels of pictures that it is sure of and misclassifies",
            f"It is more than {percent(_SURE, 0)} sure of "
            f"{count(len(sure), 'picture')} that it classifies otherwise than labelled: {shown} "
            "of the data. Either the label is wrong, or this is a blind spot worth "
            "training data.",
        )


def _neighbours(study: Study) -> Iterator[Step]:
    found = study.data.get("map")
    if found is None:
        return
    pairs = [pair for pair in found["pairs"] if pair["distance"] is not None]
    if len(pairs) < 2:
        return
    near = sorted(pairs, key=lambda pair: pair["distance"])[:3]
    ways = listed(
        [f"{study.labels[pair['source']]} – {study.labels[pair['target']]}" for pair in near]
    )
    yield Step(
        "Collect pictures where the classes lie closest",
        f"The borders {ways} are crossed by the smallest changes: that is where more "
        "training pictures do most.",
    )


def _maps(study: Study) -> Iterator[Step]:
    likeness = study.data.get("gradients", {}).get("likeness")
    if likeness is not None and likeness > 0.7:
        yield Step(
            "Do not explain decisions by gradients of this network",
            "Its maps look like those of a network that learnt nothing.",
        )


def _corruption(study: Study) -> Iterator[Step]:
    """One corruption is far worse than the others."""
    found = study.data.get("corruptions")
    if found is None or len(found["rows"]) < 2:
        return
    rows = sorted(found["rows"], key=lambda row: row["mean_accuracy"])
    worst, others = rows[0], [row["mean_accuracy"] for row in rows[1:]]
    usual = sum(others) / len(others)
    if worst["mean_interval"][1] > usual - _FAR_WORSE:
        return
    name = worst["corruption"]
    in_python = f'fs.corruption_accuracy(model, images, corruptions=["{name}"])'
    yield Step(
        f"Train on pictures with {spoken(name)}, if it will meet any",
        f"It classifies {percent(worst['mean_accuracy'])} of them correctly, where under the other "
        f"corruptions it is {percent(usual)} on average. Measure it on all pictures first.",
        f"fluoroscope corrupt {study.named} --corruption {name}"
        if study.named
        else f"import fluoroscope as fs\n{in_python}",
    )


def _repeat(study: Study) -> Iterator[Code | Facts | Text]:
    about = study.provenance
    if study.command:
        yield Code(study.command)
    images = study.images
    split = f", {images.split}" if images.split else ""
    made = ", ".join(one["name"] for one in (_verdict(study) or {}).get("components", ()))
    facts = [
        ("Network", f"{study.model.name}, SHA-256 {about['model_sha256']}"),
        (
            "Pictures",
            f"{count(len(images), 'picture')} of {images.name}{split}, in an order drawn from the "
            f"seed; SHA-256 {study.reading.sha256}",
        ),
        ("Attacks", f"{study.bound}" + (f": {made}" if made else "")),
        ("Seed", str(study.seed)),
        (
            "Versions",
            f"fluoroscope {about['fluoroscope']}, torch {about['torch']}, Python {about['python']}",
        ),
        ("Machine", f"{about['machine']}, {about['device']}, {about['precision']}"),
    ]
    yield Facts(facts)
    if about["prepared"]:
        yield Text(
            f"The searches ran on a copy made faster ({', '.join(about['prepared'])}); every "
            "success was confirmed by the network as it is.",
            "note",
        )
