"""``fluoroscope invert attack``: adversarial samples from a generator, bounded or not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.invert_assess import all_pictures, judge_of, real_pictures
from fluoroscope.cli.invert_sample import opened
from fluoroscope.cli.options import (
    OUT,
    BatchSize,
    Json,
    Limit,
    MaybeData,
    OnGrid,
    Seed,
    Split,
    Threat,
    open_pictures,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import as_percent, count, percent, shortened, some

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier

# Of the search that stands beside a bounded generator.
_PGD_STEPS = 20


@with_model
@with_display
def attack(
    model: "Classifier",
    generator: Annotated[
        Path | None,
        typer.Argument(
            help="What fluoroscope invert wrote: its samples, unrestricted. Without it one is "
            "trained that moves the pictures of --data within --threat."
        ),
    ] = None,
    data: MaybeData = None,
    split: Split = None,
    limit: Limit = None,
    threat: Threat = None,
    steps: Annotated[
        int | None, typer.Option(help="Batches that the bounded generator learns from.")
    ] = None,
    width: Annotated[int, typer.Option(help="Channels of its first layer.")] = 16,
    on_grid: OnGrid = False,
    n: Annotated[
        int, typer.Option("--number", "-n", help="Unrestricted samples of each class.")
    ] = 10,
    second: Annotated[
        str | None,
        typer.Option(help="The judge of unrestricted samples: another network, as --model."),
    ] = None,
    out: Annotated[Path, typer.Option(*OUT, help="Directory for the results.")] = Path(
        "out/invert-attack"
    ),
    batch_size: BatchSize = 64,
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Adversarial samples from a generator.

    Unrestricted, from a trained generator: samples of a class that a second
    network calls otherwise. Bounded, from real pictures: two thirds of them
    train a generator of changes, which then leads the others, unseen, to
    drawn classes.

    [bold]Examples:[/]
      fluoroscope invert attack out/invert -m digits-cnn --second digits-robust
      fluoroscope invert attack -m digits-cnn -d digits --threat linf:0.3 --8bit
    """
    from fluoroscope.files import output_directory

    output = Output(json)
    place = output_directory(out)
    output.ready()
    if generator is not None:
        if threat is not None or steps is not None or on_grid:
            raise InvalidParameterError(
                "--threat, --steps and --8bit are of the bounded attack; expected them without a "
                "generator's directory"
            )
        _unrestricted(output, model, generator, data, split, limit, n, second, place, batch_size,
                      seed)  # fmt: skip
        return
    if data is None:
        raise InvalidParameterError(
            "--data was not given; expected the pictures to move, or the directory of a "
            "generator for unrestricted samples"
        )
    if second is not None:
        raise InvalidParameterError(
            "--second judges unrestricted samples; expected a generator's directory with it"
        )
    _bounded(output, model, data, split, limit, threat, steps, width, on_grid, place, batch_size,
             seed)  # fmt: skip


def _unrestricted(
    output: Output, model: "Classifier", generator: Path, data: str | None, split: str | None,
    limit: int | None, n: int, second: str | None, place: Path, batch_size: int, seed: int,
) -> None:  # fmt: skip
    from fluoroscope.inversion.generator.adversarial import unrestricted
    from fluoroscope.inversion.generator.sample_files import sample_sheet, save_samples

    found = opened(generator, model)
    judge = judge_of(model, second)
    if judge is None:
        raise InvalidParameterError(
            "second was not given; expected --second with another network of the same classes, "
            "trained independently, which says what a sample shows"
        )
    real, _ = real_pictures(model, data, split, None, limit or 2000)
    with output.telling():
        made = unrestricted(
            model, found, judge, n=n, seed=seed, real=None if real is None else real[0],
            batch_size=batch_size,
        )  # fmt: skip
    output.say(made.summary)
    told = made.certificate
    output.note(
        "the judge is a network, and no more than an opinion: look at the samples, and at how far "
        "they are from real pictures"
    )
    hits = made.success.nonzero()[:, 0]
    assert told.second is not None
    assert told.second_sure is not None
    got = set(made.samples.classes[hits].tolist())
    without = [found.labels[one] for one in found.record["classes"] if one not in got]
    shown = hits if len(hits) else slice(None)
    sheet = sample_sheet(
        made.samples.images[shown],
        made.samples.classes[shown],
        made.samples.labels,
        title=(
            f"Adversarial samples: {model.name} says the class, with this probability, "
            f"{judge.name} another"
            if len(hits)
            else f"No adversarial sample: {judge.name} agrees with {model.name}"
        ),
        confidence=told.confidence[shown],
        also=[
            f"{judge.name}: {shortened(found.labels[says])}, {as_percent(sure)}"
            for says, sure in zip(
                told.second[shown].tolist(), told.second_sure[shown].tolist(), strict=True
            )
        ],
        foot=f"None was found of {some(without)}" if len(hits) and without else "",
    )
    record = {
        "attack": "unrestricted samples of a generator",
        **made.describe(),
        "second": judge.name,
        "generator": found.record,
        "seed": seed,
        "each": n,
        "needs_data": found.record.get("needs_data"),
        "labels": list(made.samples.labels),
        "certificates": list(told.rows()),
    }
    samples = made.samples
    output.wrote(save_samples(place, samples.images, samples.classes, samples.codes, sheet, record))
    output.json(record)


def _bounded(
    output: Output, model: "Classifier", data: str, split: str | None, limit: int | None,
    threat: str | None, steps: int | None, width: int, on_grid: bool, place: Path,
    batch_size: int, seed: int,
) -> None:  # fmt: skip
    from fluoroscope.attacks import PGD
    from fluoroscope.engine.threats import as_text, as_threat, usual_threat
    from fluoroscope.inversion.generator.perturbing import (
        STEPS,
        drawn_targets,
        fit_perturbation,
        noise_within,
    )
    from fluoroscope.pictures.pairs import pair_sheet
    from fluoroscope.pictures.write import write_png

    given = open_pictures(data, split, limit, model.channels)
    bound = usual_threat(model, given) if threat is None else as_threat(threat)
    images, labels = all_pictures(model, given)
    learn = (2 * len(images) + 1) // 3
    if learn == len(images):
        raise InvalidParameterError(
            f"data holds {count(len(images), 'picture')}; expected 2 or more: two thirds to learn "
            "from, and others to be led"
        )
    many = STEPS if steps is None else steps
    options: dict[str, Any] = {"targeted": True, "seed": seed, "batch_size": batch_size}
    options |= {"grid": 8 if on_grid else None}
    with output.telling(), interruptible() as interrupted, output.measuring() as move:
        method = fit_perturbation(
            model, images[:learn], labels[:learn],
            threat=bound, steps=many, batch_size=batch_size, width=width, seed=seed,
            on_batch=lambda one: move(
                one.number / one.total,
                f"batch {one.number} of {one.total}: {percent(one.success)} led",
            ),
            cancelled=interrupted,
        )  # fmt: skip
        if interrupted():
            output.say("stopped while it learnt; nothing was written")
            raise typer.Abort
        unseen = images[learn:]
        wanted = drawn_targets(labels[learn:], model.num_classes, seed)
        found = method(model, unseen, wanted, **options)
        control = noise_within(model, unseen, wanted, bound, seed=seed, grid=options["grid"])
        searched = PGD(threat=bound, steps=_PGD_STEPS)(model, unseen, wanted, **options)
    others = (~found.at_start).nonzero()[:, 0]
    random = float(control[others].double().mean())
    share = float(found.success[others].double().mean())
    peer = float(searched.success[others].double().mean())
    output.say(
        f"{percent(share)} of {count(len(others), 'unseen picture')} are led to the drawn class "
        f"within {as_text(bound)}, by one pass through the generator; a search for each (PGD, "
        f"{_PGD_STEPS} steps) leads {percent(peer)}, random changes of the same bound "
        f"{percent(random)}"
    )
    for note in found.notes:
        output.note(note)
    paths = found.save(place)
    pairs = found.pairs(model.labels)
    if pairs:
        paths.append(write_png(place / "attack.png", pair_sheet(pairs)))
    output.wrote(paths)
    output.json(found.record | {
        "success": share,
        "random_success": random,
        "pgd_success": peer,
        "pgd_steps": _PGD_STEPS,
        "learnt_from": learn,
        "unseen": len(others),
    })  # fmt: skip
