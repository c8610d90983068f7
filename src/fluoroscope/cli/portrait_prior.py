"""``fluoroscope portrait fit-prior``: what real pictures are like, measured for portraits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import (
    OUT,
    Data,
    First,
    Invert,
    Json,
    Limit,
    Split,
    open_pictures,
    sides_of,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.words import count

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier


@with_model
def fit(
    data: Data,
    model: "Classifier | None" = None,
    split: Split = None,
    limit: Limit = None,
    first: First = False,
    invert: Invert = False,
    size: Annotated[
        str | None,
        typer.Option(help="Without a network: 224 or HEIGHTxWIDTH. Default: as the pictures are."),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            help="Also measure what this layer gives out; repeatable. 'stages': the last one of "
            "each size of map.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(*OUT, help="The file; another of the same name holds the numbers.")
    ] = Path("out/prior.json"),
    json: Json = None,
) -> None:
    """Measure what pictures are like, so that portraits can be like them.

    Mean, contrast, which colours go together, how much there is of each
    frequency. No labels are needed, and nothing of the pictures themselves is
    kept. Then: fluoroscope portrait --prior FILE.

    [bold]Examples:[/]
      fluoroscope portrait fit-prior -d digits -m digits-cnn
      fluoroscope portrait fit-prior -d photos -m torchvision/resnet18 --limit 1000 -o photos.json
      fluoroscope portrait -m torchvision/resnet18 -c vulture --prior photos.json
    """
    from fluoroscope.inversion.prior_fitting import fit_prior

    output = Output(json)
    images = open_pictures(data, split, limit, model.channels if model else 3, first, invert)
    with output.measuring() as move:
        found = fit_prior(
            images,
            model,
            size=sides_of(size),
            layers="stages" if layers == ["stages"] else layers,
            on_share=lambda share: move(share, f"measuring {count(len(images), 'picture')}"),
        )
    assert found.size is not None
    said: dict[str, Any] = {
        "pictures": len(images),
        "size": list(found.size),
        "mean": [round(each, 4) for each in found.mean.tolist()],
        "gain": round(found.gain, 4),
        "decay": round(found.decay, 3),
        "colour": [[round(each, 4) for each in row] for row in found.colour.tolist()],
        "layers": {str(each.place): len(each.mean) for each in found.layers},
    }
    channels = [f"{each:.3f}" for each in found.mean.tolist()]
    rows = [
        ["pictures", f"{len(images):,}, at {found.size[0]}×{found.size[1]}"],
        ["mean of each channel", " ".join(channels)],
        ["standard deviation", f"{found.gain:.3f}"],
        ["magnitudes fall as", f"frequency to the power of -{found.decay:.2f}"],
    ]
    if len(channels) > 1:
        weights = (found.colour.square().sum(0) / found.colour.square().sum()).tolist()
        rows.append(["variance by colour", " ".join(f"{100 * each:.1f} %" for each in weights)])
    rows += [[f"layer {name}", count(many, "channel")] for name, many in said["layers"].items()]
    output.table(["measured", "value"], rows)
    written = found.save(out)
    output.wrote(written, written[-1].name)
    output.json({**said, "files": [str(path) for path in written]})
