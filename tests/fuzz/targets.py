"""What is fuzzed: a door for each kind of file that may come from a stranger, and whole ones.

A target is one entry in ``TARGETS``: trees to begin with, and what is done with a folder that holds
a changed one. Its outcome is a result or one of our errors; anything else is a fault.
"""

import contextlib
import csv
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

import fluoroscope as fs
from fluoroscope.errors import PictureError
from fluoroscope.evaluation.corruptions.catalogue import corrupt
from fluoroscope.inversion.measures.saved import read_saved
from fluoroscope.models.invertible.network import Shape
from fluoroscope.models.invertible.stated import invertible_classifier, statement
from fluoroscope.pictures.checks import check_images
from fluoroscope.pictures.decode import FORMATS
from fluoroscope.pictures.read import read_picture
from fluoroscope.studio.uploads import decoding
from fluoroscope.tensor_files import write_tensors
from tests.fuzz.mutate import ESCAPE, SECRET, Tree

# What steers a terminal: C0 but for tab and line ends, DEL, C1.
_STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# One line for a mistake, however long what was given.
_LONGEST = 5000


@dataclass(frozen=True)
class Target:
    """A door, what goes through it unharmed, and how many changed ones the suite sends."""

    seeds: Callable[[Path], list[Tree]]
    door: Callable[[Path], object]
    inputs: int


def read_tree(folder: Path) -> Tree:
    """Every file below a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def command(*arguments: str) -> None:
    """Call the command line: it ends well, or with 2 and one line, and steers no terminal.

    Raises:
        FluoroscopeError: with that line.
    """
    from fluoroscope.cli import main

    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["fluoroscope", *arguments]),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert code in (0, None, 2), f"ended with {code}: {err.getvalue()[-500:]}"
    for said in (out.getvalue(), err.getvalue()):
        found = _STEERING.search(said)
        assert found is None, f"{found and found[0]!r} on the terminal: {said[:300]!r}"
        assert "Traceback" not in said, said
        assert "😄" not in said, said
    if code == 2:
        assert len(err.getvalue()) < _LONGEST, f"a message of {len(err.getvalue())} characters"
        raise fs.FluoroscopeError(err.getvalue())


def _picture() -> Image.Image:
    rows, columns = np.mgrid[0:12, 0:10]
    colours = np.stack([20 * rows, 25 * columns, rows * columns], -1)
    return Image.fromarray(colours.astype(np.uint8))


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def _pictures(folder: Path) -> list[Tree]:
    colour = _picture()
    trees = []
    for kind in FORMATS:
        if kind in Image.SAVE:
            trees.append({"picture.x": _encoded(colour, kind)})
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "F"):
        kind = "PNG" if mode in ("1", "L", "LA", "P", "RGBA", "I;16") else "TIFF"
        made = colour.convert("L").convert("I;16") if mode == "I;16" else colour.convert(mode)
        trees.append({"picture.x": _encoded(made, kind)})
    frames = {"save_all": True, "append_images": [colour.rotate(90)]}
    trees += [{"picture.x": _encoded(colour, kind, **frames)} for kind in ("GIF", "TIFF", "PNG")]
    # Headers of billions of pixels with nothing behind them.
    wide = (60_000).to_bytes(4, "big")
    png = _encoded(colour, "PNG")
    trees.append({"picture.x": png[:16] + wide + wide + png[24:]})
    trees.append({"picture.x": b"P6 60000 60000 255\n" + bytes(100)})
    trees.append({"picture.x": b"GIF89a\xff\xff\xff\xff" + _encoded(colour, "GIF")[10:]})
    return trees


def _open_picture(folder: Path) -> object:
    (file,) = folder.iterdir()
    return [read_picture(file, channels) for channels in (1, 3)]


def _decode_upload(folder: Path) -> object:
    """As the child that decodes what clients of the studio bring."""
    (file,) = folder.iterdir()
    sent = file.is_file() and not file.is_symlink()  # a client sends bytes and nothing else
    header, values = decoding.decoded(file.read_bytes() if sent else b"")
    if "problem" in header:
        raise PictureError(header["problem"])
    channels, height, width = header["shape"]
    assert channels == 3
    assert max(height, width) <= decoding.MOST_SIDE
    found = np.frombuffer(values, dtype=np.float32)
    assert found.size == channels * height * width
    assert found.min() >= 0
    assert found.max() <= 1
    return found


def _checkpoints(folder: Path) -> list[Tree]:
    state = fs.load_model("digits-linear").module.state_dict()
    first = next(iter(state))

    def saved(value: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        torch.save(value, file, **options)
        return file.getvalue()

    legacy = {"_use_new_zipfile_serialization": False}
    trained = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    odd = {
        "sparse": lambda v: v.to_sparse(),
        "csr": lambda v: v.to_sparse_csr() if v.dim() == 2 else v,
        "quantised": lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8),
        "meta": lambda v: v.to("meta"),
        "complex": lambda v: v.to(torch.complex64),
        "nested": lambda v: torch.nested.as_nested_tensor([v, v]),
        "not numbers": lambda v: v * torch.nan,
        "whole": lambda v: v.long(),
    }
    values = [state, trained, {**state, "extra": {"a": [1, 2.0, "x"]}}]
    values += [{**state, first: change(state[first])} for change in odd.values()]
    trees = [{"weights.pt": saved(value)} for value in values]
    trees += [{"weights.pt": saved(value, **legacy)} for value in (state, trained)]
    trees.append({"weights.safetensors": save(state, {"format": "pt", "note": ESCAPE})})
    return trees


def _load_checkpoint(folder: Path) -> object:
    (file,) = folder.iterdir()
    return fs.load_model("digits-linear", checkpoint=file)


def _invertible(folder: Path) -> list[Tree]:
    model = invertible_classifier(Shape(1, 4, 4, 2, scales=1, blocks=1, hidden=2), ("a", ESCAPE))
    said = statement(model)
    heads = [said, {**said, "invertible": said["invertible"].replace(": 4", ": 99999999")}]
    state = model.module.state_dict()
    return [{"weights.safetensors": save(state, head)} for head in heads]


def _load_invertible(folder: Path) -> object:
    (file,) = folder.iterdir()
    return fs.load_model("invertible", checkpoint=file)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stem(images).flatten(2)
        return self.head(
            features.reshape(images.shape[0], 4, -1).mean(2) + features.softmax(2).sum(2)
        )


def _programs(folder: Path) -> list[Tree]:
    note = {"labels": ["a", "b", "c"], "mean": [0.5], "std": [0.5]}
    trees: list[Tree] = []
    for batch in (None, {0: torch.export.Dim("batch", min=1, max=64)}):
        program = torch.export.export(
            _Network().eval(), (torch.rand(2, 1, 6, 6),), dynamic_shapes=batch and (batch,)
        )
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={"fluoroscope.json": json.dumps(note)})
        trees.append({"network.pt2": file.getvalue()})
    return trees


def _run_program(folder: Path) -> object:
    (file,) = folder.iterdir()
    model = fs.load_model(file)
    height, width = model.input_size or (6, 6)
    if model.channels * height * width > 10_000:
        return model
    return fs.predict(model, torch.rand(3, model.channels, height, width))


def _transformers(folder: Path) -> list[Tree]:
    import transformers

    trees = []
    for processor in (
        transformers.ViTImageProcessor(size={"height": 16, "width": 16}),
        transformers.ConvNextImageProcessor(size={"shortest_edge": 16}, crop_pct=0.9),
    ):
        config = transformers.ViTConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
            patch_size=8, image_size=16, id2label={0: "cat", 1: "dog"},
        )  # fmt: skip
        transformers.ViTForImageClassification(config).save_pretrained(folder)
        processor.save_pretrained(folder)
        trees.append(read_tree(folder))
    return trees


def _timm(folder: Path) -> list[Tree]:
    import timm

    network = timm.create_model("test_resnet", num_classes=2)
    config = {
        "architecture": "test_resnet", "num_classes": 2, "label_names": ["cat", "dog"],
        "pretrained_cfg": {
            "input_size": [3, 32, 32], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6],
            "crop_pct": 0.75, "crop_mode": "center", "interpolation": "bilinear",
            "num_classes": 2, "first_conv": "conv1.0", "classifier": "fc",
        },
    }  # fmt: skip
    return [{
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save(network.state_dict()),
    }]  # fmt: skip


def _runs(folder: Path) -> list[Tree]:
    from fluoroscope.evaluation.plan import Plan, Stage

    stages = (Stage("fgsm", fs.attack("fgsm", eps=0.1)), Stage("ddn", fs.attack("ddn", steps=3)))
    trees = []
    for number, threat in enumerate(("linf:0.1", "l2:1")):
        plan = Plan("short", stages[number : number + 1])
        digits = fs.load_images("digits", channels=1).take(12)
        labels = [one.label for one in digits]
        columns = {"camera": ["a", ESCAPE, None] * 4}
        data = fs.load_images([one.image for one in digits], labels=labels, columns=columns)
        model = fs.load_model("digits-linear")
        out = folder / str(number)
        slices = ["camera"]
        fs.evaluate(model, data, threat=threat, plan=plan, out=out, part=6, slices=slices)
        trees.append(read_tree(out))
    return trees


def _show_run(folder: Path) -> None:
    with contextlib.suppress(fs.FluoroscopeError):
        fs.Requirements("class>=0.1 slice>=0.1 trust").of(fs.read_run(folder))
    with contextlib.suppress(fs.FluoroscopeError):
        command("runs", "compare", str(folder), str(folder))
    with contextlib.suppress(fs.FluoroscopeError):
        table = fs.runs_table([folder])
        assert len([*csv.DictReader(io.StringIO(table.csv()))]) == 1
        assert _STEERING.search(table.latex().replace("\n", "")) is None
    command("runs", "show", str(folder), "--json", "-")


def _xrays(folder: Path) -> list[Tree]:
    place = folder / "xray"
    fs.xray(
        fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(12),
        threat="linf:0.05", sections=["clean", "curve", "gradients"], run=place,
    )  # fmt: skip
    return [read_tree(place)]


def _compare_xrays(folder: Path) -> object:
    return fs.compare_reports(folder, folder).html


def _bookmarks(folder: Path) -> list[Tree]:
    from fluoroscope.engine import bookmark

    with mock.patch.object(bookmark, "_WORTH", 0.0):
        seen: list[object] = []
        _search_on(folder, on_step=seen.append, cancelled=lambda: len(seen) == 5)
    return [read_tree(folder)]


def _search_on(folder: Path, **options: Any) -> object:
    """As who knows how they are sealed would change one: sealed anew, where it can be read."""
    from safetensors import SafetensorError, safe_open

    from fluoroscope.engine.bookmark import Bookmark
    from fluoroscope.tensor_files import write_tensors

    place = folder / "search.going"
    with contextlib.suppress(SafetensorError, OSError), safe_open(place, "pt") as file:
        about = {name: text for name, text in file.metadata().items() if name != "sha256"}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        write_tensors(place, tensors, about)
    model, images = fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(6)
    batch = next(iter(images.batches(6)))
    square = fs.attack("square", eps=0.05, queries=20)
    return square(
        model, batch.images, batch.labels, batch_size=4, bookmark=Bookmark(place, {}), **options
    )


def _morphs(folder: Path) -> list[Tree]:
    fs.morph(fs.load_model("digits-linear"), "digits:7", to=2, steps=3).save(folder, gif=False)
    tree = read_tree(folder)
    return [{name: tree[name] for name in ("morph.json", "morph.safetensors")}]


def _attributions(folder: Path) -> list[Tree]:
    model, images = fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(3)
    batch = next(iter(images.batches(3)))
    trees = []
    for classes in ([0, 1, 2], (3, 4)):
        fs.attribute(model, batch.images, classes).save(folder)
        trees.append(read_tree(folder))
    return trees


def _open_attribution(folder: Path) -> object:
    found = fs.Attribution.load(folder)
    found.figure()
    return repr(found), found._repr_html_(), found.describe()


def _activations(folder: Path) -> list[Tree]:
    """Finished ones, and those that were stopped after a part of four pictures."""
    shares: list[float] = []
    trees = []
    for cancelled in (lambda: False, lambda: len(shares) > 7):
        shares.clear()
        with mock.patch("fluoroscope.neurons.reading.read.part_size", return_value=4):
            fs.neurons.read(
                fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(9), "1",
                batch_size=1, out=folder, on_share=shares.append, cancelled=cancelled,
            )  # fmt: skip
        trees.append(read_tree(folder))
        shutil.rmtree(folder)
    return trees


def _open_activations(folder: Path) -> object:
    model, images = fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(9)
    if not (folder / "activations.json").exists():
        with mock.patch("fluoroscope.neurons.reading.read.part_size", return_value=4):
            return fs.neurons.read(model, images, "1", batch_size=1, out=folder).values.sum()
    found = fs.neurons.Activations.open(folder, model, images)
    found.values.sum()
    return repr(found), found._repr_html_(), found.describe(), found.names, found.labels.sum()


def _traces(folder: Path) -> list[Tree]:
    model, five = fs.load_model("digits-cnn"), fs.open_image("digits:5", channels=1).image
    trees = []
    for options in ({"shown": 1}, {"sets": False, "shown": 0, "approximations": ()}):
        fs.neurons.trace(model, five, layer="8", **options).save(folder)  # type: ignore[arg-type]
        trees.append(read_tree(folder))
    return trees


def _comparisons_of_units(folder: Path) -> list[Tree]:
    model, images = fs.load_model("digits-cnn"), fs.load_images("digits", channels=1).take(4)
    both = images[0].image, images[1].image
    fs.neurons.turned(
        model, *both, layer="8", images=images, shown=1, favourites=1
    ).save(folder)  # fmt: skip
    return [read_tree(folder)]


def _trajectories_of_units(folder: Path) -> list[Tree]:
    model, images = fs.load_model("digits-cnn"), fs.load_images("digits", channels=1).take(3)
    fs.neurons.along(model, next(iter(images.batches(3))).images, layer="8").save(folder)
    return [read_tree(folder)]


def _open_traced(kind: Any) -> Callable[[Path], object]:
    def opened(folder: Path) -> object:
        found = kind.load(folder)
        found.figure()
        if hasattr(found, "sheet"):
            found.sheet()
        return repr(found), found._repr_html_(), found.describe()

    return opened


def _consistencies(folder: Path) -> list[Tree]:
    model, images = fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(8)
    real = fs.neurons.read(model, images, "1")
    led = fs.load_images(
        torch.stack([one.image for one in images]).flip(3), channels=1,
        labels=[one.label for one in images],
        columns={"target": [9, 8, 7, 6, 5, 4, 3, 1], "source": list(range(8))},
    )  # fmt: skip
    trees = []
    for options in ({}, {"noisy": real, "concepts": list("ababcbab")}):
        fs.neurons.consistency(
            real, fs.neurons.read(model, led, "1"), "confusion", draws=2, **options
        ).save(folder)  # type: ignore[arg-type]
        trees.append(read_tree(folder))
    return trees


def _open_consistency(folder: Path) -> object:
    found = fs.neurons.Consistency.load(folder)
    found.figure()
    found.figure_of_representations()
    said = found.rows, found.bin_rows, found.unit_rows()
    return repr(found), found._repr_html_(), found.describe(), said


def _class_trees(folder: Path) -> list[Tree]:
    nested = {"thing": {"round": ["0", "6", {"8": None}], "straight": {"1": {}, "4": "7"}}}
    lines = "0: round\n6: round\n8: round\n1: straight\n4: straight\n7: 4\n"
    table = f'child,parent\n{lines.replace(": ", ",")}"a, b",round\n# end\n'
    return [{"tree": text.encode()} for text in (json.dumps(nested), lines, table)]


def _read_class_tree(folder: Path) -> object:
    labels = list("016478")
    return fs.neurons.class_similarity(folder / "tree", labels=labels).describe()


def _sets_of_portraits(folder: Path) -> list[Tree]:
    model, trees = fs.load_model("digits-linear"), []
    for against, frames in ((True, 2), (False, 0)):
        found = fs.portrait(model, [3, 5], method="pixels", steps=2, against=against, frames=frames)
        found.judged_by(fs.load_model("digits-cnn")).save(folder)
        trees.append(read_tree(folder))
    return trees


def _open_portraits(folder: Path) -> object:
    found = fs.Portraits.load(folder)
    found.gallery()
    found.ladder()
    found.pairs()
    return repr(found), found._repr_html_(), found.describe()


def _generators(folder: Path) -> list[Tree]:
    trees = []
    few: dict[str, Any] = {"steps": 1, "batch_size": 4, "features": 8, "noise": 4, "embedded": 4}
    for conditioning, norm in (("vector-matrix", "batch"), ("embedding", "group")):
        made = fs.invert(
            fs.load_model("digits-linear"), conditioning=conditioning, norm=norm, **few
        )
        made.save(folder)
        trees.append(read_tree(folder))
    return trees


def _open_generator(folder: Path) -> object:
    found = fs.Inversion.load(folder)
    return repr(found), found._repr_html_(), found.describe(), found.sample().images.sum()


def _gates(folder: Path) -> list[Tree]:
    values = torch.eye(3, 8).clamp(min=0.25)
    fs.training.GateMatrix(values, "5", ("0", "1", "2")).save(folder / "net.gates.safetensors")
    return [read_tree(folder)]


def _load_gates(folder: Path) -> object:
    found = fs.training.load_gates(folder / "net.gates.safetensors")
    return repr(found), found._repr_html_(), found.describe(), found.figure()


def _priors(folder: Path) -> list[Tree]:
    data, model = fs.load_images("digits", channels=1).take(20), fs.load_model("digits-cnn")
    trees = []
    for layers in (None, "stages"):
        fs.inversion.fit_prior(data, model, layers=layers).save(folder / "prior")
        trees.append(read_tree(folder))
    return trees


def _open_prior(folder: Path) -> object:
    found = fs.inversion.DataPrior.load(folder)
    return fs.portrait(
        fs.load_model("digits-linear"), 3, method="fourier", steps=1, prior=found
    ).describe()


def _maps(folder: Path) -> list[Tree]:
    data = fs.load_images("digits", channels=1).take(40)
    model = fs.load_model("digits-linear")
    fs.class_map(model, data, classes=[0, 1, 7], pictures=1, targets=1).save(folder)
    return [read_tree(folder)]


def _open_map(folder: Path) -> object:
    (file,) = folder.iterdir()
    return fs.ClassMap.load(file).describe()


def _audits(folder: Path) -> list[Tree]:
    digits = fs.load_images("digits", channels=1).take(3)
    images = torch.stack([one.image for one in digits])
    model = fs.load_model("digits-linear")
    fs.audit(model, images, methods=["gradient", "gradient-x-input"], out=folder).save(folder)
    tree = read_tree(folder)
    return [{"audit.json": tree["audit.json"]}, tree]


def _open_audit(folder: Path) -> object:
    with contextlib.suppress(fs.FluoroscopeError):
        found = fs.Audit.load(folder)
        assert _STEERING.search(repr(found)) is None
        found._repr_html_()
        found.describe()
    images = torch.stack([one.image for one in fs.load_images("digits", channels=1).take(3)])
    return fs.audit(
        fs.load_model("digits-linear"), images, methods=["gradient"],
        randomisation=False, faithfulness=False, out=folder,
    )  # fmt: skip


def _assessments(folder: Path) -> list[Tree]:
    batch = next(fs.load_images("digits", channels=1).take(30).batches(30))
    images, labels = batch.images, batch.labels
    assert labels is not None
    fs.inversion.assess(
        fs.load_model("digits-cnn"), images[:10], labels[:10],
        second=fs.load_model("digits-robust"), real=(images[10:], labels[10:]),
    ).save(folder)  # fmt: skip
    return [read_tree(folder)]


def _portraits(folder: Path) -> list[Tree]:
    images = torch.linspace(0, 1, 2 * 784).view(2, 1, 28, 28)
    write_tensors(
        folder / "portraits.safetensors",
        {"images": images, "targets": torch.tensor([1, 2]), "codes": torch.eye(10)[:2]},
    )
    (folder / "portraits.json").write_text(json.dumps({"record": {"needs_data": True}}))
    return [read_tree(folder)]


def _read_portraits(folder: Path) -> object:
    found = read_saved(folder)
    check_images(found.images, 1)
    return found.classes.tolist()


def _open_assessment(folder: Path) -> object:
    found = fs.inversion.Assessment.load(folder)
    assert _STEERING.search(repr(found) + "".join(found.row())) is None
    found._repr_html_()
    return found.describe()


def _train(folder: Path) -> object:
    from fluoroscope.training.job.history import History
    from fluoroscope.training.trainer.fitting import fit_stream
    from fluoroscope.training.trainer.recipe import Recipe

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    images, labels = torch.linspace(0, 1, 640).view(40, 1, 4, 4), torch.arange(40) % 2
    recipe = Recipe(epochs=2, batch_size=20)
    place = folder / "training.safetensors"
    beside = [History()]
    return list(fit_stream(module, images, labels, recipe, beside=beside, checkpoint=place))


def _trainings(folder: Path) -> list[Tree]:
    _train(folder)
    return [read_tree(folder)]


def _tables(folder: Path) -> list[Tree]:
    import pyarrow as pa
    from pyarrow import parquet

    picture = _encoded(_picture(), "PNG")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    inside = {"a.png": picture, "b.png": picture}
    trees = []
    for path, data in (("a.png", picture), ("a.png", None), (f"../{SECRET}", None)):
        rows = pa.array([{"bytes": data, "path": path}, {"bytes": picture, "path": "b.png"}], kind)
        table = pa.table({"image": rows, "label": [0, 1]})
        for made in (table, table.replace_schema_metadata(metadata)):
            file = io.BytesIO()
            parquet.write_table(made, file)
            trees.append({"test.parquet": file.getvalue(), **inside})
    return trees


def _folders(folder: Path) -> list[Tree]:
    picture = _encoded(_picture(), "PNG")
    classes = {"cat/1.png": picture, "dog/2.png": picture, "README.md": b"# Cats\n\nand dogs\n"}
    names = "file_name,label\n1.png,cat\n2.png,dog\n"
    lines = '{"file_name": "1.png", "label": 0}\n{"file_name": "2.png", "label": 1}\n'
    flat = {"1.png": picture, "2.png": picture}
    away = names.replace("1.png", f"../{SECRET}").encode()
    return [
        classes,
        {f"train/{name}": data for name, data in classes.items()},
        {**flat, "metadata.csv": names.encode()},
        {**flat, "metadata.csv": away},
        {**flat, "metadata.jsonl": lines.encode()},
        {**flat, f"{ESCAPE}.png": picture},
    ]


def _go_through(folder: Path) -> object:
    from fluoroscope.data.slices import describe, slices

    images = fs.load_images(str(folder))
    for column in images.columns:
        with contextlib.suppress(fs.FluoroscopeError):
            assert describe(images, column).isprintable()
            assert all(value.isprintable() for value in slices(images, column).values())
    return [
        (images[at].image.shape, images[at].label, images[at].name) for at in range(len(images))
    ]


def _predict_folder(folder: Path) -> object:
    with contextlib.suppress(fs.FluoroscopeError):
        command("predict", "-m", "digits-linear", "--data", str(folder))
    return _go_through(folder)


def _label_files(folder: Path) -> list[Tree]:
    plain = [f"class {number}" for number in range(10)]
    marked = [*plain[:3], f"{ESCAPE}three", "[bold]four[/]", ":smile:", *plain[6:]]
    return [{"labels.txt": "\n".join(names).encode()} for names in (plain, marked)]


def _predict_with_labels(folder: Path) -> None:
    command(
        "predict", "-m", "digits-linear", "-i", "digits:3", "--labels", str(folder / "labels.txt"),
    )  # fmt: skip


def _plans(folder: Path) -> list[Tree]:
    text = """samples = 1
[[stages]]
attack = "apgd"
name = "first"
restarts = 2
everyone = true
[stages.parameters]
steps = 20
[[stages]]
attack = "square"
keep = "first"
hopeful = 0.5
judged_by = ["first"]
[stages.parameters]
queries = 100
"""
    return [{"plan.toml": text.encode()}]


def _find_plan(folder: Path) -> object:
    from fluoroscope.evaluation.plans import find_plan

    return find_plan(folder / "plan.toml", fs.Linf(0.1))


def _words(folder: Path) -> list[Tree]:
    return [{"name.txt": name.encode()} for name in (
        "digits-cnn", "torchvision/resnet18", "timm/resnet18", "python:json:loads", "net.pt2",
        "../x", "hf/owner/name@main",
    )]  # fmt: skip


def _name_a_network(folder: Path) -> None:
    file = folder / "name.txt"
    name = file.read_text("utf-8", "surrogateescape") if file.is_file() else ""
    if not name.startswith(("torchvision/", "timm/", "python:")):  # weights that would be fetched
        with contextlib.suppress(fs.FluoroscopeError):
            command("predict", "-m", "digits-linear", "-i", name)
        command("models", "show", name)


def _frosts(folder: Path) -> list[Tree]:
    kinds = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}
    return [
        {f"frost{number}{end}": _encoded(_picture(), kind) for number in range(1, 6)}
        for end, kind in kinds.items()
    ]


def _corrupt_with_frost(folder: Path) -> object:
    return corrupt(torch.full((6, 3, 9, 14), 0.5), "frost", 3, frost=folder)


def _make_a_set(folder: Path) -> object:
    model, data = fs.load_model("digits-linear"), fs.load_images("digits", channels=1).take(6)
    attack = fs.attack("ensemble-optimisation", steps=2)
    return fs.neurons.adversarial_set(model, data, out=folder, targets=2, attack=attack)


def _sets(folder: Path) -> list[Tree]:
    _make_a_set(folder)
    whole = read_tree(folder)
    going = {name.replace("data/", ".parts/"): data for name, data in whole.items()}
    return [whole, going]


def _go_on_with_a_set(folder: Path) -> None:
    from fluoroscope.neurons.adversarial.set_files import read_about

    with contextlib.suppress(fs.FluoroscopeError):
        read_about(folder)
    _make_a_set(folder)


def _masks(folder: Path) -> list[Tree]:
    """Masks of the first digits: a folder for each concept, and numbers with their names."""
    ink = [one.image[0].numpy() > 0.5 for one in fs.load_images("digits", channels=1).take(3)]
    names = (ESCAPE, "top", "[red]half")
    trees: list[Tree] = [{}, {"names.txt": "\n".join(names).encode()}]
    for number, mask in enumerate(ink):
        numbers = Image.fromarray(mask.astype(np.uint8) + 1)
        trees[0][f"[red]ink/{number}.png"] = _encoded(Image.fromarray(mask), "PNG")
        trees[0][f"top/{number}.tif"] = _encoded(numbers, "TIFF")
        trees[1][f"{number}.png"] = _encoded(numbers, "PNG")
    wide = (60_000).to_bytes(4, "big")
    png = trees[0]["[red]ink/0.png"]
    trees.append({"a/0.png": png[:16] + wide + wide + png[24:]})
    return trees


def _dissect(folder: Path) -> object:
    from fluoroscope.neurons.answers.dissection import dissect

    images = fs.load_images("digits", channels=1).take(3)
    found = dissect(fs.load_model("digits-cnn"), images, folder, "5", [0, 5])
    assert np.nanmax(np.nan_to_num(found.iou), initial=0) <= 1
    return found._repr_html_()


def _depth_networks(folder: Path) -> list[Tree]:
    from fluoroscope.depth.network_files import TrainedDepth

    about = {
        "settings": {"scenes": 2, "size": [8, 8], "weight": 0.1}, "seed": 0,
        "test": {"scenes": 1, "rel": 0.1, "rmse": 0.5, "right": 0.9}, "selectivity": {"mean": 0.3},
    }  # fmt: skip
    TrainedDepth(fs.depth.build_network(3, 2), fs.depth.Bins(3), about).save(folder)
    return [read_tree(folder)]


def _open_depth_network(folder: Path) -> object:
    found = fs.depth.TrainedDepth.load(folder)
    return repr(found), found._repr_html_()


TARGETS: dict[str, Target] = {
    "pictures": Target(_pictures, _open_picture, 1500),
    "uploads": Target(_pictures, _decode_upload, 600),
    "checkpoints": Target(_checkpoints, _load_checkpoint, 400),
    "invertible networks": Target(_invertible, _load_invertible, 150),
    "exported programs": Target(_programs, _run_program, 150),
    "transformers' directories": Target(_transformers, fs.load_model, 60),
    "timm's directories": Target(_timm, fs.load_model, 60),
    "runs": Target(_runs, _show_run, 80),
    "X-rays that were kept": Target(_xrays, _compare_xrays, 15),
    "bookmarks": Target(_bookmarks, _search_on, 60),
    "morphs": Target(_morphs, fs.MorphResult.load, 150),
    "attributions": Target(_attributions, _open_attribution, 60),
    "activations": Target(_activations, _open_activations, 20),
    "traces": Target(_traces, _open_traced(fs.neurons.Trace), 40),
    "comparisons of units": Target(_comparisons_of_units, _open_traced(fs.neurons.Turned), 40),
    "trajectories of units": Target(_trajectories_of_units, _open_traced(fs.neurons.Along), 40),
    "consistencies of units": Target(_consistencies, _open_consistency, 30),
    "class trees": Target(_class_trees, _read_class_tree, 300),
    "sets of portraits": Target(_sets_of_portraits, _open_portraits, 60),
    "generators": Target(_generators, _open_generator, 60),
    "depth networks": Target(_depth_networks, _open_depth_network, 30),
    "priors": Target(_priors, _open_prior, 60),
    "gates of a training": Target(_gates, _load_gates, 60),
    "maps": Target(_maps, _open_map, 150),
    "audits": Target(_audits, _open_audit, 20),
    "pictures of classes": Target(_portraits, _read_portraits, 100),
    "assessments": Target(_assessments, _open_assessment, 100),
    "trainings": Target(_trainings, _train, 80),
    "tables": Target(_tables, _go_through, 25),
    "folders": Target(_folders, _predict_folder, 25),
    "labels": Target(_label_files, _predict_with_labels, 40),
    "masks": Target(_masks, _dissect, 30),
    "frost": Target(_frosts, _corrupt_with_frost, 60),
    "plans": Target(_plans, _find_plan, 300),
    "adversarial sets": Target(_sets, _go_on_with_a_set, 15),
    "names": Target(_words, _name_a_network, 40),
}
