"""How it copes with noise, blur, weather and compression: the fifteen corruptions, on a sample."""

import json
import time
from typing import Any, cast

import torch

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.predict import predict
from fluoroscope.evaluation.corruptions.catalogue import SEVERITIES, corrupted
from fluoroscope.evaluation.corruptions.table import corruption_accuracy
from fluoroscope.pictures.plots import Canvas
from fluoroscope.pictures.uris import uri
from fluoroscope.report.blocks import Block, Card, Content, Figure, Gallery, Picture, Table, Text
from fluoroscope.report.pictures import which_channels
from fluoroscope.report.registry import section
from fluoroscope.report.study import Study
from fluoroscope.report.subject import LeftOutError
from fluoroscope.words import count, interval, listed, percent

# Pictures, and those of them that go together; where pictures are large, fewer of both, and not at
# every severity.
_PICTURES, _BATCH = 100, 50
_PICTURES_LARGE, _BATCH_LARGE, _SEVERITIES_LARGE = 16, 4, (1, 3, 5)
# Of the time left.
_SHARE = 0.3
# Corruptions that are equally bad and named.
_TIED = 3
# Names that are not simply their words.
_SPOKEN = {"gaussian-noise": "Gaussian noise", "jpeg": "JPEG compression"}


@section("corruptions", "How it copes with noise, blur, weather and compression", order=55, cost=45)
def corruptions(study: Study) -> Content:
    found = _found(study)
    table = found["table"]
    rows = table["rows"]
    worst = min(rows, key=lambda row: row["mean_accuracy"])
    blocks: list[Block] = [
        Text(_in_words(table), "lead"),
        _figure(table),
        *_example(study, found),
        *which_channels(study.model.channels),
        Text(_how(study, table), "note"),
    ]
    return Content(blocks, table | {"worst": worst["corruption"], "example": found["example"]})


def spoken(corruption: str) -> str:
    """The name of a corruption in a sentence."""
    return _SPOKEN.get(corruption, corruption.replace("-", " "))


def _sample(study: Study) -> tuple[ImageSet, int, tuple[int, ...]]:
    """Pictures, how many go together, and severities."""
    large = study.large
    many = min(_PICTURES_LARGE if large else _PICTURES, len(study.images))
    return (
        study.images.select(range(many)),
        _BATCH_LARGE if large else _BATCH,
        _SEVERITIES_LARGE if large else SEVERITIES,
    )


def _found(study: Study) -> dict[str, Any]:
    images, batch, severities = _sample(study)

    def look() -> dict[str, Any]:
        ends = time.monotonic() + _SHARE * study.left()
        table = corruption_accuracy(
            study.model, images, severities=severities, seed=study.seed, batch_size=batch,
            at_chance=True,
            on_progress=lambda done, total: study.tell(
                "noise, blur and weather", done / total, "corruptions"
            ),
            cancelled=lambda: study.cancelled() or time.monotonic() > ends,
        )  # fmt: skip
        if not table.complete:
            study.cut.add("corruptions")
        if not table.count:
            study.go_on("corruptions")
            raise LeftOutError("corruptions: there was too little time for a single batch")
        kept = ("scale", "frost", "notes", "data", "seed")
        plain = table.describe() | {"record": {name: table.record[name] for name in kept}}
        del plain["seconds"]  # the same study has the same findings
        # As they are read back: lists for tuples.
        found = {"table": plain, "example": _looked(study, images, plain)}
        return cast(dict[str, Any], json.loads(json.dumps(found)))

    return study.written("corruptions", [len(images), severities], look)


def _looked(study: Study, images: ImageSet, table: dict[str, Any]) -> dict[str, Any]:
    """One picture: under each corruption the mildest severity that is misclassified, or the last.

    It is the first that is classified correctly as it is.
    """
    right = study.reading.right[: len(images)].nonzero().squeeze(1).tolist()
    index = study.images.indices[right[0] if right else 0]
    (image,), labels = study.load([index])
    label, shown = int(labels[0]), {}
    for row in table["rows"]:
        versions = torch.cat(list(_versions(study, image, index, row["corruption"], table)))
        said = predict(study.model.plain, versions, batch_size=len(versions))
        wrong = (said.winners != label).nonzero().squeeze(1).tolist()
        place = wrong[0] if wrong else len(versions) - 1
        shown[row["corruption"]] = {
            "severity": table["severities"][place],
            "class": int(said.winners[place]),
            "confidence": float(said.probabilities[place].max()),
        }
    return {"index": index, "label": label, "corruptions": shown}


def _versions(
    study: Study, image: torch.Tensor, index: int, corruption: str, table: dict[str, Any]
) -> list[torch.Tensor]:
    return list(
        corrupted(
            image[None], corruption, table["severities"], scale=table["record"]["scale"],
            seed=study.seed, numbers=torch.tensor([index], device="cpu"),
        )
    )  # fmt: skip


def _in_words(table: dict[str, Any]) -> str:
    least = min(row["mean_accuracy"] for row in table["rows"])
    last = [row for row in table["rows"] if row["mean_accuracy"] == least]
    names = [spoken(row["corruption"]) for row in last]
    shown = listed(names if len(names) <= _TIED else [*names[:_TIED], f"{len(names) - _TIED} more"])
    clean = wilson(round(table["clean_accuracy"] * table["count"]), table["count"])
    words = (
        f"Corrupted, {percent(table['mean_accuracy'])} of {count(table['count'], 'picture')} are "
        f"classified correctly on average; as they are, {percent(table['clean_accuracy'])}. Worst "
        f"{'is' if len(names) == 1 else 'are'} {shown}: {percent(least)}, 95 % interval "
        f"{interval(last[0]['mean_interval'])}."
    )
    if clean[0] <= least:
        words += " On so few pictures the differences may come by chance."
    elif clean[0] <= table["mean_accuracy"]:
        words += " On so few pictures the difference on average may come by chance."
    return words


def _figure(table: dict[str, Any]) -> Figure:
    rows, severities = table["rows"], table["severities"]
    heads = ["clean", *map(str, severities), "mean"]
    shares = [[table["clean_accuracy"], *row["accuracy"], row["mean_accuracy"]] for row in rows]
    with (canvas := Canvas(1.9 + 0.62 * len(heads), 0.7 + 0.3 * len(rows))) as axes:
        axes.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(shares):
            for x, share in enumerate(row):
                axes.text(
                    x, y, f"{100 * share:.0f}", ha="center", va="center", fontsize=9,
                    color="#ffffff" if share < 0.6 else "#000000",
                )  # fmt: skip
        axes.set_xticks(range(len(heads)), heads)
        axes.set_yticks(range(len(rows)), [spoken(row["corruption"]) for row in rows])
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("severity")
        for place in (0.5, len(severities) + 0.5):
            axes.axvline(place, color="#ffffff", linewidth=2)
        for side in axes.spines.values():
            side.set_visible(False)
    return Figure(
        canvas.svg,
        says="Heat map of the accuracy under each corruption (rows) at each severity (columns). "
        "The numbers are in the table below.",
        caption="Pictures classified correctly, in %: under each corruption, from the mildest "
        "severity to the strongest; light is good.",
        table=Table(
            ["corruption", *(f"severity {one}" for one in severities), "mean", "95 % interval"],
            [
                [
                    spoken(row["corruption"]),
                    *(percent(share) for share in (*row["accuracy"], row["mean_accuracy"])),
                    interval(row["mean_interval"]),
                ]
                for row in rows
            ],
            "Accuracy under each corruption",
            right=tuple(range(1, len(severities) + 3)),
        ),
    )


def _example(study: Study, found: dict[str, Any]) -> list[Block]:
    """One picture under each corruption, and what it is taken for."""
    example, table = found["example"], found["table"]
    (image,), _ = study.load([example["index"]])
    names, label = study.labels, example["label"]
    name = study.picture(example["index"])
    cards = [Card("clean", [Picture(uri(image), f"Picture {name}", names[label])])]
    for corruption, seen in example["corruptions"].items():
        place = list(table["severities"]).index(seen["severity"])
        changed = _versions(study, image, example["index"], corruption, table)[place][0]
        still = seen["class"] == label
        caption = f"severity {seen['severity']}: {'still ' if still else ''}{names[seen['class']]}"
        cards.append(
            Card(
                spoken(corruption),
                [Picture(uri(changed), f"Picture {name} with {spoken(corruption)}", caption)],
            )
        )
    return [
        Text(
            f"Picture {name}, labelled {names[label]}: under each corruption at the mildest "
            "severity at which it is taken for something else, or at the strongest where it never "
            "is."
        ),
        Gallery(cards),
    ]


def _how(study: Study, table: dict[str, Any]) -> str:
    """What was done, and what is not as published."""
    record, severities = table["record"], table["severities"]
    whole = record["data"]["count"]
    words = [
        f"The corruptions of ImageNet-C and CIFAR-10-C (Hendrycks and Dietterich 2019), with "
        f"{'ImageNet-C' if record['scale'] == 'imagenet-c' else 'CIFAR-10-C'}'s numbers, at "
        f"severity {listed([str(one) for one in severities])}, on "
        f"{count(table['count'], 'picture')} drawn from all {len(study.images):,}: "
        f"{count(table['forwards'], 'prediction')}. Nobody searches for these changes; a network "
        "can resist attacks and stumble over them."
    ]
    if not table["complete"]:
        words.append(f"Time was up after {table['count']} of {count(whole, 'picture')}.")
    if record["frost"] == "drawn":
        words.append("Frost is drawn, not the benchmark's photographs.")
    if any(note.startswith("jpeg") for note in record["notes"]):
        words.append("JPEG is for pictures of 1 or 3 channels, and left out.")
    words.append("fluoroscope corrupt looks at all pictures, and says what else differs.")
    return " ".join(words)
