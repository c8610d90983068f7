"""What to do next, from what was found, and how to repeat it."""

import re
from collections.abc import Iterator
from math import ceil
from typing import Any

from fluoroscope.engine.threats import as_text
from fluoroscope.evaluation.behind import classes_behind
from fluoroscope.evaluation.check import Outcome
from fluoroscope.evaluation.history import ROUNDING
from fluoroscope.report.blocks import Code, Content, Facts, Heading, Step, Steps, Text
from fluoroscope.report.hardened import Training, training_of
from fluoroscope.report.references import references
from fluoroscope.report.registry import section
from fluoroscope.report.sections.corruptions import spoken
from fluoroscope.report.study import NEAREST_NORMS, Study
from fluoroscope.report.subject import LeftOutError
from fluoroscope.words import count, listed, percent, sentence

# A verdict is sharp enough from this half width on; so many pictures give it in the worst case.
_SHARP = 0.05
_SHARPER = ceil(0.25 * (1.96 / 0.03) ** 2)
# The lead of a misclassified picture's probability from which its label deserves a look.
_SURE = 0.9
# A corruption's upper end lies so far below the others' mean where it is worth a step of its own.
_FAR_WORSE = 0.1
# Files of weights that are listed.
_FILES = 8
# Classes that are named; searches of which a distance between classes is to be.
_NAMED, _ENOUGH = 3, 3


@section("next", "What to do next", order=90, cost=1000, free=True)
def next_steps(study: Study) -> Content:
    steps = [step for rule in _RULES for step in rule(study)]
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


def _behind(study: Study) -> Iterator[Step]:
    found = _verdict(study) or {}
    reading = study.reading
    clean = classes_behind(reading.labels.numpy(), reading.right.numpy(), study.labels)
    labels = dict.fromkeys(
        [one.label for one in clean] + [one["label"] for one in found.get("behind", ())]
    )
    if not labels:
        return
    names = [study.labels[label] for label in labels]
    shown = listed(names if len(names) <= _NAMED else [*names[:_NAMED], "others"])
    it = "it" if len(names) == 1 else "them"
    wrong = [row for row in _misclassified(study) if int(reading.labels[row]) in labels]
    yield Step(
        f"Find out why it fails on {shown}",
        f"It does far worse on {it} than on the other classes, more than so many pictures let one "
        f"expect by chance. Look at {'its' if len(names) == 1 else 'their'} pictures first: wrong "
        "labels, another source than in training, or too few of them there. Until that is mended, "
        f"one accuracy over all classes says too much for {it}."
        + (f" Misclassified as they are: {_files(study, wrong)}." if wrong else ""),
        _listing(study),
    )


def _misclassified(study: Study) -> list[int]:
    """Rows of the reading, the surest mistakes first."""
    reading = study.reading
    wrong = (~reading.right).nonzero().squeeze(1)
    return wrong[reading.confidence[wrong].argsort(descending=True)].tolist()


def _files(study: Study, rows: list[int]) -> str:
    """What the pictures in these rows of the reading are called."""
    return _few([study.picture(study.images.indices[row]) for row in rows])


def _few(names: list[str]) -> str:
    return listed(names if len(names) <= 6 else [*names[:5], f"{len(names) - 5} more"])


def _listing(study: Study) -> str:
    """The command that lists every picture with what it is predicted as."""
    return f"fluoroscope predict {study.named} --csv out/predictions.csv" if study.named else ""


def _required(study: Study) -> Iterator[Step]:
    """Accuracies that were required and not reached; of the trust checks another rule tells."""
    missed = [one for one in _outcomes(study) if one.status == "not met"]
    of = {one.text: re.split(r"\.low|>=", one.text)[0] for one in missed}
    clean = [one for one in missed if of[one.text] in ("clean", "class", "slice")]
    robust = [one for one in missed if of[one.text].startswith("robust")]
    if clean:
        wrong = _misclassified(study)
        yield Step(
            f"Reach what is required of clean pictures: {listed([one.text for one in clean])}",
            f"{' '.join(sentence(one.words) for one in clean)} It misclassifies "
            f"{count(len(wrong), 'picture')}, the surest mistakes first: {_files(study, wrong)}. "
            "Mend the labels that are wrong among them, and train on more pictures like the rest."
            + (" The command lists all." if _listing(study) else ""),
            _listing(study),
        )
    if robust:
        closest = study.closest
        near = [row for row in closest.ranked() if closest.distances[row] <= study.eps + ROUNDING]
        names = _few([study.picture(int(closest.indices[row])) for row in near])
        yield Step(
            f"Reach what is required under attack: {listed([one.text for one in robust])}",
            f"{' '.join(sentence(one.words) for one in robust)} "
            + (f"Fooled by the smallest changes: {names}. " if near else "")
            + "No setting mends that: train it against attacks of this size, or choose a network "
            "that was, and require what the use needs.",
            _training(study),
        )


def _outcomes(study: Study) -> tuple[Outcome, ...]:
    return () if study.judged is None else study.judged.requirements


def _harden(study: Study) -> Iterator[Step]:
    found = _verdict(study)
    clean = float(study.reading.right.double().mean())
    if found is None or not found["clean_accuracy"] or not clean:
        return
    lost = 1 - found["robust_accuracy"] / found["clean_accuracy"]
    if lost < 0.5:
        return
    start = f"Attacks within {study.bound} take {percent(lost, 0)} of what it classifies correctly"
    trained = _trained(study)
    if trained == "hardened":
        yield Step(
            "Choose the bound that it was hardened for, or harden it further",
            f"{start}, yet it stands far larger changes than networks that were trained on clean "
            "pictures alone: it looks hardened, for a smaller bound than this. Quote the bound "
            "that you need it to stand; if that is this one, train it against attacks of this "
            "size.",
            _training(study),
        )
        return
    snippet = _training(study)
    yield Step(
        "Train it against attacks, if somebody could want to fool it",
        start
        + (
            ", as they do of any network that was trained on clean pictures alone. "
            if trained == "clean"
            else ". "
        )
        + "Adversarial training is the defence that has held up; it costs several times the "
        "training and some clean accuracy. Begin below the bound you want, and make this report "
        "again."
        + ("" if snippet else " Our training takes networks that return logits, one a class."),
        snippet,
    )


def _trained(study: Study) -> Training:
    try:
        found = study.curve
    except LeftOutError:
        return "unknown"
    others = references(found.norm, study.model.channels, study.side)
    return training_of(study, found, others)


def _training(study: Study) -> str:
    """What trains it against attacks, as far as our training can; it runs as it stands."""
    model, sees = study.model, study.model.preprocessing
    if model.outputs != "logits" or study.threat.name not in ("linf", "l2"):
        return ""
    kind, bound = type(study.threat).__name__, as_text(study.threat).partition(":")[2]
    shape = f"(N, {model.channels}, {', '.join(map(str, model.input_size or ('H', 'W')))})"
    lines = [
        "import fluoroscope as fs",
        "from fluoroscope import training",
        f"# network: its torch.nn.Module; images {shape} in [0, 1] and labels (N,) to train on",
    ]
    if sees.mean is not None or sees.std is not None or sees.channel_order == "bgr":
        if sees.channel_order == "bgr":
            return ""
        mean = list(sees.mean or [0.0] * model.channels)
        std = list(sees.std or [1.0] * model.channels)
        lines[2:2] = ["from torch import nn", "from torchvision.transforms import Normalize"]
        lines.append(f"network = nn.Sequential(Normalize({mean}, {std}), network)")
    return "\n".join(
        [
            *lines,
            f'harden = training.PGDLoss(threat=fs.{kind}("{bound}"))',
            "training.fit(network, images, labels, loss=harden)",
        ]
    )


def _confirm(study: Study) -> Iterator[Step]:
    found = _verdict(study)
    if found is None or found["robust_accuracy"] < 0.05 or study.threat.name not in NEAREST_NORMS:
        return
    trust = {check["name"]: check["status"] for check in found.get("trust", ())}
    plan, why = "standard", "AutoAttack's standard plan takes longer and is what others quote."
    if trust.get("differentiable") == "fail":
        plan, why = "black-box", "Without a gradient, only attacks that need none say something."
    elif trust.get("randomness") == "fail":
        plan, why = "rand", "It answers at random: AutoAttack has a plan for such networks."
    threat = as_text(study.threat)
    if study.named:
        # What the commands that only look at clean pictures do not ask for.
        own = " --8bit" if study.grid else ""
        own += " --plain" if study.model.plain is study.model else ""
        own += f" --seed {study.seed}" if study.seed else ""
        command = f"fluoroscope evaluate {study.named}{own} --threat {threat} --plan {plan}"
        command += f" --out out/{plan}"
    else:
        given = f'threat="{threat}", plan="{plan}"'
        given += f", grid={study.grid}" if study.grid else ""
        given += f", seed={study.seed}" if study.seed else ""
        command = _in_python(study, "evaluate", f'{given}, out="out/{plan}"')
    yield Step("Confirm the number before you publish it", why, command)


def _in_python(study: Study, function: str, given: str) -> str:
    """A call of ours on the same network and pictures."""
    return (
        f"import fluoroscope as fs\n# {study.called}: as this report was given them\n"
        f"fs.{function}({study.called}, {given})"
    )


def _sharpen(study: Study) -> Iterator[Step]:
    found = _verdict(study)
    if found is None:
        return
    low, high = found["robust_interval"]
    if (high - low) / 2 <= _SHARP or found["count"] >= _SHARPER:
        return
    known = (
        f"On {count(found['count'], 'picture')} the accuracy under attack is only known to lie "
        f"between {percent(low)} and {percent(high)}."
    )
    given = len(study.images)
    if found["count"] < given:
        goes_on = (
            " The same command goes on where this one stopped."
            if study.directory
            else " Kept in a directory (--run, run=), the work of one call serves the next."
        )
        yield Step(f"Give it more time: {found['count']:,} of {given:,} pictures were attacked",
                   known + goes_on)  # fmt: skip
    else:
        yield Step(
            f"Look at more pictures: about {_SHARPER:,} pin the number down to ±3 points", known
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
        yield Step(
            "Check the labels of pictures that it is sure of and gets wrong",
            f"It is more than {percent(_SURE, 0)} sure of "
            f"{count(len(sure), 'picture')} that it classifies otherwise than labelled: "
            f"{_files(study, sure)}. "
            "Either the label is wrong, or this is a blind spot worth training data.",
        )


def _neighbours(study: Study) -> Iterator[Step]:
    found = study.data.get("map")
    if found is None:
        return
    pairs = [pair for pair in found["pairs"] if pair["distance"] is not None]
    searches = sorted(pair["searches"] for pair in pairs)
    # Between two classes there is but one border, and of few pictures it is nobody's.
    if study.model.num_classes < 3 or len(pairs) < 2 or searches[len(searches) // 2] < _ENOUGH:
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
    yield Step(
        f"Train on pictures with {spoken(name)}, if it will meet any",
        f"It classifies {percent(worst['mean_accuracy'])} of them correctly, where under the other "
        f"corruptions it is {percent(usual)} on average. Measure it on all of these pictures "
        "first.",
        f"fluoroscope corrupt {study.named} --corruption {name}"
        if study.named
        else _in_python(study, "corruption_accuracy", f'corruptions=["{name}"]'),
    )


_RULES = (
    *(_trust, _required, _behind, _harden, _confirm, _sharpen, _calibrate, _labels, _neighbours),
    *(_corruption, _maps),
)


def _repeat(study: Study) -> Iterator[Code | Facts | Text]:
    about = study.provenance
    if study.command:
        yield Code(study.command)
    images = study.images
    split = f", {images.split}" if images.split else ""
    made = ", ".join(one["name"] for one in (_verdict(study) or {}).get("components", ()))
    stated = study.stated
    files = [(f"File {name}", f"SHA-256 {told}") for name, told in study.model_files.items()]
    described = [("What the pictures are", stated.data)] if stated.data else []
    facts = [
        ("Network", f"{study.model.name}, SHA-256 of the weights {about['model_sha256']}"),
        *([("Version", stated.version)] if stated.version else []),
        *files[:_FILES],
        *([("And", count(len(files) - _FILES, "more file"))] if len(files) > _FILES else []),
        *described,
        (
            "Pictures",
            f"{count(len(images), 'picture')} of {images.name}{split}, in an order drawn from the "
            f"seed; SHA-256 {study.reading.sha256}",
        ),
        (
            "Attacks",
            study.bound
            + (", 8-bit pictures" if study.grid else "")
            + (f": {made}" if made else ""),
        ),
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
