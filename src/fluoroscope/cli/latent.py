"""``fluoroscope latent``: what of an invertible network's latent an adversarial picture changes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.display import with_display
from fluoroscope.cli.options import (
    Image,
    Invert,
    Json,
    Norm,
    Out,
    Seed,
    open_picture,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.cli.waiting import waiting
from fluoroscope.words import count, number, percent

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.models.classifier import Classifier


@with_model
@with_display
def latent(
    model: "Classifier",
    image: Image,
    invert: Invert = False,
    adversarial: Annotated[
        str | None,
        typer.Option(help="The other picture, as for --image; in place of --attack."),
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(help="What makes the other picture; default: latent. See: attacks."),
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="How far the attack may go, such as 1.5; latent needs none.")
    ] = None,
    norm: Norm = None,
    out: Out = Path("out/latent"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Show what of an invertible network's latent an adversarial picture changes, and how it looks.

    The difference falls apart into what lies between both classes, between others, and where the
    head does not look; each part alone is made a picture again by the network's inverse.

    [bold]Examples:[/]
      fluoroscope train invertible -d path/to/mnist
      fluoroscope latent -m invertible --checkpoint out/train/invertible.safetensors -i digits:7
    """
    from fluoroscope.errors import InvalidParameterError
    from fluoroscope.files import output_directory
    from fluoroscope.invertible.reading import read_latent

    given = {"attack": attack, "eps": eps, "norm": norm}
    if adversarial is not None:
        for name, value in given.items():
            if value is not None:
                raise InvalidParameterError(
                    f"--{name} is {value}, beside --adversarial {adversarial}; expected one of the "
                    "two: the other picture, or what makes it"
                )
    output, directory = Output(json), output_directory(out)

    def picture(named: str) -> "Tensor":
        return model.fit(open_picture(named, model, seed, invert=invert)[0].image)

    before, how = picture(image), "given"
    if adversarial is not None:
        after = picture(adversarial)
    else:
        waiting.says("attacking")
        after, how = _attacked(model, before, attack or "latent", eps, norm, seed)
    found = read_latent(model, before, after, how=how)
    for note in found.notes:
        output.note(note)
    described = found.describe()
    output.say(found.summary)
    output.table(
        ["part", "of the difference", "in no direction", "predicted as", "margin"],
        [
            [
                each["part"], percent(each["share"]), percent(each["expected"]), each["predicted"],
                number(each["margin"]),
            ]
            for each in described["parts"]
        ],
    )  # fmt: skip
    record: dict[str, Any] = found.record
    low, high = record["bounds"]
    output.say(
        f"apart in pixels {number(record['distance'])}, in the latent "
        f"{number(record['latent_distance'])} (between {low:.2g} and {high:.3g} times that); the "
        f"inverse is off by {max(record['inverse_off']):.1g} after "
        f"{count(max(record['rounds']), 'round')}"
    )
    written = found.save(directory)
    output.wrote(written)
    output.json({**described, "files": [str(path) for path in written]})


def _attacked(
    model: "Classifier", image: "Tensor", name: str, eps: str | None, norm: str | None, seed: int
) -> tuple["Tensor", str]:
    """The picture that an attack makes, and how."""
    from fluoroscope.attacks.registry import attack as made
    from fluoroscope.engine.predict import predict
    from fluoroscope.errors import InvalidParameterError
    from fluoroscope.models.invertible.backwards import invertible_in

    invertible_in(model, "a reading of the latent")
    method = made(name, eps=eps, norm=norm)
    own = predict(model, image[None]).winners
    found = method(model, image[None].to(model.device, model.dtype), own, seed=seed)
    if not bool(found.success[0]):
        raise InvalidParameterError(
            f"--attack {name} found nothing within --eps {eps}; expected an adversarial picture: "
            "give it more room, or another attack"
        )
    return found.images[0].cpu(), f"{name}, L2 distance {float(found.distance[0]):.4g}" if (
        method.threat.name == "l2"
    ) else f"{name} in {method.threat.name}"
