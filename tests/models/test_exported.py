"""Exported programs: what is rebuilt, and what a stranger's archive cannot do."""

import copy
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fluoroscope as fs
from fluoroscope.errors import InvalidParameterError, ModelFormatError, UnknownModelError
from fluoroscope.models import exported_operators

Change = Callable[[dict[str, bytes]], None]


class Network(nn.Module):
    """Convolution, batch norm, attention over patches, a reshape by the batch size, a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.attention = nn.Linear(8, 24)
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(8, 5))
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        heads = self.attention(tokens).reshape(images.shape[0], -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        first, second = mixed.chunk(2, dim=1)
        pooled = (first * self.scale + second).reshape(images.shape[0], -1, 8).mean(1)
        return self.head(pooled + torch.arange(8, dtype=pooled.dtype) / 8)


def network() -> Network:
    torch.manual_seed(0)
    made = Network().eval()
    for norm in made.stem:
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
    return made


def save(module: nn.Module, path: Path, *, dynamic: bool, batch: int = 2, **options: Any) -> Path:
    shapes = ({0: torch.export.Dim("batch", min=1, max=512)},) if dynamic else None
    program = torch.export.export(module, (torch.zeros(batch, 3, 16, 16),), dynamic_shapes=shapes)
    torch.export.save(program, path, **options)
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(network(), tmp_path_factory.mktemp("exported") / "net.pt2", dynamic=True)


def changed(archive: Path, target: Path, change: Change) -> Path:
    """A copy of an archive with other members, as somebody of ill will would make it."""
    with zipfile.ZipFile(archive) as source:
        members = {name.partition("/")[2]: source.read(name) for name in source.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as copy:
        for name, content in members.items():
            copy.writestr(f"{target.stem}/{name}", content)
    return target


def test_the_same_answers_and_gradients(archive: Path) -> None:
    model, original = fs.load_model(archive), fs.Classifier(network())
    for count in (1, 2, 7):
        images = torch.rand(count, 3, 16, 16)
        assert torch.equal(model(images), original(images))
    images = torch.rand(3, 3, 16, 16, requires_grad=True)
    ours, theirs = (
        torch.autograd.grad(m(images)[:, 1].sum(), images)[0] for m in (model, original)
    )
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_what_the_program_states_about_itself(archive: Path) -> None:
    model = fs.load_model(str(archive))
    assert (model.channels, model.input_size) == (3, (16, 16))
    assert model.labels == ("0", "1", "2", "3", "4")
    assert "states no mean and std" in model.preprocessing.stated_by
    assert not any(weight.requires_grad for weight in model.module.parameters())
    described = fs.describe_model(model)
    assert described["source"] == "exported program"
    assert described["parameters"] == sum(p.numel() for p in network().parameters())


def test_arguments_and_the_note_inside_state_the_rest(tmp_path: Path) -> None:
    note = {"labels": list("abcde"), "mean": [0.1, 0.2, 0.3], "std": [0.5] * 3, "resize": 20}
    extra = {"fluoroscope.json": json.dumps(note)}
    path = save(network(), tmp_path / "net.pt2", dynamic=True, extra_files=extra)
    model = fs.load_model(path)
    assert model.labels == tuple("abcde")
    stated = model.preprocessing
    assert (stated.mean, stated.std, stated.resize) == ((0.1, 0.2, 0.3), (0.5,) * 3, 20)
    assert stated.stated_by == "fluoroscope.json in net.pt2"
    assert fs.load_model(path, mean=(0.9,) * 3).preprocessing.mean == (0.9,) * 3


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_size_takes_any_number(tmp_path: Path, batch: int) -> None:
    path = save(network(), tmp_path / "net.pt2", dynamic=False, batch=batch)
    model, original = fs.load_model(path), fs.Classifier(network())
    for count in (1, 2, 3, 7):
        images = torch.rand(count, 3, 16, 16, requires_grad=True)
        answer = model(images)
        assert torch.allclose(answer, original(images), atol=1e-6)
        gradient = torch.autograd.grad(answer.sum(), images)[0]
        expected = torch.autograd.grad(original(images).sum(), images)[0]
        assert torch.allclose(gradient, expected, atol=1e-6)


def test_a_decomposed_program(tmp_path: Path) -> None:
    program = torch.export.export(network(), (torch.zeros(2, 3, 16, 16),)).run_decompositions()
    torch.export.save(program, tmp_path / "net.pt2")
    images = torch.rand(2, 3, 16, 16)
    expected = fs.Classifier(network())(images)
    assert torch.allclose(fs.load_model(tmp_path / "net.pt2")(images), expected, atol=1e-6)


def test_a_program_as_a_module_object() -> None:
    """Its modules forbid eval() and train(), which the classifier does not need."""
    program = torch.export.export(network(), (torch.zeros(2, 3, 16, 16),)).module()
    images = torch.rand(2, 3, 16, 16)
    trainable = [weight.requires_grad for weight in program.parameters()]
    assert torch.allclose(
        fs.load_model(program)(images), fs.Classifier(network())(images), atol=1e-6
    )
    assert [weight.requires_grad for weight in program.parameters()] == trainable


class Mischief:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def saved(thing: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def edit(members: dict[str, bytes], name: str, change: Callable[[Any], None]) -> None:
    content = json.loads(members[name])
    change(content)
    members[name] = json.dumps(content).encode()


def nodes(program: Any) -> list[Any]:
    found: list[Any] = program["graph_module"]["graph"]["nodes"]
    return found


def test_pickled_example_inputs_are_not_looked_at(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def change(members: dict[str, bytes]) -> None:
        members["data/sample_inputs/model.pt"] = saved(((Mischief(marker),), {}))

    bad = changed(archive, tmp_path / "bad.pt2", change)
    fs.load_model(bad)(torch.rand(1, 3, 16, 16))
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever it ends in, it has run by then
        torch.export.load(bad)
    assert marker.exists(), "the trap itself must work"


@pytest.mark.parametrize("prefix", ["opaque_obj_0", "custom_obj_0", "tensor_0"])
def test_pickled_constants_are_refused(archive: Path, tmp_path: Path, prefix: str) -> None:
    marker = tmp_path / "ran"
    entry = {"path_name": prefix, "is_param": False, "use_pickle": True, "tensor_meta": None}

    def change(members: dict[str, bytes]) -> None:
        payload = pickle.dumps(Mischief(marker)) if "obj" in prefix else saved(Mischief(marker))
        members[f"data/constants/{prefix}"] = payload
        edit(
            members,
            "data/constants/model_constants_config.json",
            lambda content: content["config"].update(trap=entry),
        )

    bad = changed(archive, tmp_path / "bad.pt2", change)
    with pytest.raises(ModelFormatError, match="holds the pickled object 'trap'"):
        fs.load_model(bad)
    assert not marker.exists()


def test_pickled_weights_are_refused(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def change(members: dict[str, bytes]) -> None:
        members["data/weights/weight_0"] = saved(Mischief(marker))

        def use_pickle(content: Any) -> None:
            for entry in content["config"].values():
                entry["use_pickle"] = True

        edit(members, "data/weights/model_weights_config.json", use_pickle)

    bad = changed(archive, tmp_path / "bad.pt2", change)
    with pytest.raises(ModelFormatError, match="holds the pickled object"):
        fs.load_model(bad)
    assert not marker.exists()


def call(target: str, *arguments: Any, names: tuple[str, ...] = ("a", "b", "c")) -> dict[str, Any]:
    inputs = [
        {"name": name, "arg": argument, "kind": 1}
        for name, argument in zip(names, arguments, strict=False)
    ]
    output = {"as_tensor": {"name": "trap"}}
    return {"target": target, "inputs": inputs, "outputs": [output], "metadata": {}, "name": "trap"}


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.serialization.os.system",
        "torch.ops.aten.add.Tensor.__class__",
        "torch.ops.aten.__class__.mro",
        "torch.ops.higher_order.cond",
        "torch.ops.mylib.thing.default",
        "torch.load",
        "_operator.methodcaller",
        "builtins.exec",
    ],
)
def test_other_functions_are_refused(archive: Path, tmp_path: Path, target: str) -> None:
    command = {"as_string": f"touch {tmp_path / 'ran'}"}

    def change(members: dict[str, bytes]) -> None:
        edit(members, "models/model.json", lambda p: nodes(p).insert(0, call(target, command)))

    bad = changed(archive, tmp_path / "bad.pt2", change)
    with pytest.raises(ModelFormatError, match="holds the operator"):
        fs.load_model(bad)
    assert not (tmp_path / "ran").exists()


def test_the_operator_that_opens_files_is_refused(archive: Path, tmp_path: Path) -> None:
    trap = call(
        "torch.ops.aten.from_file.default",
        {"as_string": str(tmp_path / "ran")},
        {"as_bool": True},
        {"as_int": 8},
        names=("filename", "shared", "size"),
    )

    def change(members: dict[str, bytes]) -> None:
        edit(members, "models/model.json", lambda p: nodes(p).insert(0, trap))

    with pytest.raises(ModelFormatError, match="from_file"):
        fs.load_model(changed(archive, tmp_path / "bad.pt2", change))
    assert not (tmp_path / "ran").exists()


def test_code_in_names_and_sizes_stays_text(archive: Path, tmp_path: Path) -> None:
    """Everywhere a name or an expression may stand, put one that runs if it is ever evaluated."""
    marker = tmp_path / "ran"
    trap = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    old, new = "linear", f"x=0);{trap}#"

    def change(members: dict[str, bytes]) -> None:
        def poison(program: Any) -> None:
            program["guards_code"] = [trap]
            graph = program["graph_module"]["graph"]
            for value in graph["tensor_values"].values():
                for size in value["sizes"]:
                    if "as_expr" in size:
                        size["as_expr"]["expr_str"] = trap
            for node in graph["nodes"]:
                node["metadata"] = dict.fromkeys(node["metadata"], trap)
                node["name"] = trap

        edit(members, "models/model.json", poison)
        text = members["models/model.json"].decode()
        assert f'"name": "{old}"' in text
        members["models/model.json"] = text.replace(
            f'"name": "{old}"', f'"name": {json.dumps(new)}'
        ).encode()

    bad = changed(archive, tmp_path / "bad.pt2", change)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(fs.load_model(bad)(images), fs.load_model(archive)(images))
    assert not marker.exists()
    with pytest.raises(Exception):  # noqa: B017, PT011
        torch.export.load(bad)
    assert marker.exists(), "the trap itself must work"


def test_code_in_the_names_of_weights_and_arguments(archive: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    trap = f"w;__import__('pathlib').Path({str(marker)!r}).touch()"

    def rename_weight(members: dict[str, bytes]) -> None:
        for name in ("models/model.json", "data/weights/model_weights_config.json"):
            text = members[name].decode()
            assert '"head.1.weight"' in text
            members[name] = text.replace('"head.1.weight"', json.dumps(trap)).encode()

    images = torch.rand(2, 3, 16, 16)
    renamed = fs.load_model(changed(archive, tmp_path / "renamed.pt2", rename_weight))
    assert torch.equal(renamed(images), fs.load_model(archive)(images))

    def rename_argument(members: dict[str, bytes]) -> None:
        def change(program: Any) -> None:
            nodes(program)[0]["inputs"][0] |= {"name": trap, "kind": 2}

        edit(members, "models/model.json", change)

    with pytest.raises(ModelFormatError, match="no well-formed exported program"):
        fs.load_model(changed(archive, tmp_path / "argument.pt2", rename_argument))
    assert not marker.exists()


def test_training_mode_is_refused(tmp_path: Path) -> None:
    for number, module in enumerate((nn.Dropout(), nn.BatchNorm2d(3))):
        trained = nn.Sequential(module, nn.Flatten(), nn.Linear(768, 2)).train()
        path = save(trained, tmp_path / f"{number}.pt2", dynamic=False)
        with pytest.raises(ModelFormatError, match=r"call module\.eval\(\) before"):
            fs.load_model(path)


def test_programs_that_are_no_classifiers_of_pictures(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images.mean((2, 3)), images.sum((2, 3))

    path = save(Two(), tmp_path / "two.pt2", dynamic=False)
    with pytest.raises(ModelFormatError, match="returns 2 tensors; expected one"):
        fs.load_model(path)
    program = torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),))
    torch.export.save(program, tmp_path / "flat.pt2")
    with pytest.raises(ModelFormatError, match="takes 2 dimensions"):
        fs.load_model(tmp_path / "flat.pt2")


def test_damaged_archives(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("not an archive")
    with pytest.raises(ModelFormatError, match=r"saved by torch\.export\.save"):
        fs.load_model(tmp_path / "text.pt2")
    (tmp_path / "half.pt2").write_bytes(archive.read_bytes()[:5000])
    with pytest.raises(ModelFormatError):
        fs.load_model(tmp_path / "half.pt2")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt2")
    with pytest.raises(ModelFormatError, match="holds 0 exported programs"):
        fs.load_model(tmp_path / "weights.pt2")

    def lose(members: dict[str, bytes]) -> None:
        del members["data/weights/weight_0"]

    with pytest.raises(ModelFormatError, match="no well-formed exported program") as raised:
        fs.load_model(changed(archive, tmp_path / "lost.pt2", lose))
    assert "\n" not in str(raised.value)
    with pytest.raises(UnknownModelError, match="there is no file"):
        fs.load_model(tmp_path / "absent.pt2")


@pytest.mark.parametrize("note", [[1], {"mean": [1, 2]}, {"input_size": "big"}, {"labels": 3}])
def test_a_senseless_note(archive: Path, tmp_path: Path, note: Any) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["extra/fluoroscope.json"] = json.dumps(note).encode()

    with pytest.raises(ModelFormatError):
        fs.load_model(changed(archive, tmp_path / "noted.pt2", change))


def test_a_checkpoint_does_not_go_with_an_exported_program(archive: Path) -> None:
    with pytest.raises(InvalidParameterError, match="which holds its weights"):
        fs.load_model(archive, checkpoint="net.pt")


def with_node(archive: Path, target: Path, node: dict[str, Any]) -> Path:
    """A copy whose first step is one more, made by hand."""
    return changed(
        archive,
        target,
        lambda members: edit(members, "models/model.json", lambda p: nodes(p).insert(0, node)),
    )


@pytest.mark.parametrize(
    "operator",
    [
        "_sparse_csr_tensor_unsafe.default",
        "to_dense.default",
        "resize_.default",
        "set_.source_Storage",
        "add.out",
        "_unsafe_index.Tensor",
        "max_pool2d_with_indices_backward.default",
        "_scaled_dot_product_flash_attention_for_cpu.default",
        "empty.memory_format",
    ],
)
def test_operators_that_do_not_check_are_refused(
    archive: Path, tmp_path: Path, operator: str
) -> None:
    name, _, overload = operator.partition(".")
    assert hasattr(getattr(torch.ops.aten, name), overload)
    bad = with_node(archive, tmp_path / "bad.pt2", call(f"torch.ops.aten.{operator}"))
    with pytest.raises(ModelFormatError, match=rf"holds the operator '.*{name}\.{overload}'"):
        fs.load_model(bad)


def test_scales_that_lead_outside_the_picture_are_refused(archive: Path, tmp_path: Path) -> None:
    scaled = call(
        "torch.ops.aten.upsample_nearest2d.default",
        {"as_tensor": {"name": "images"}},
        {"as_ints": [30, 30]},
        {"as_float": 1e-38},
        names=("self", "output_size", "scales_h"),
    )
    with pytest.raises(ModelFormatError, match="upsample_nearest2d"):
        fs.load_model(with_node(archive, tmp_path / "bad.pt2", scaled))


def test_operators_that_trust_their_callers_are_checked() -> None:
    images, few = torch.rand(2, 8, 4, 4), torch.rand(2)
    many = torch.rand(8)
    expected = F.batch_norm(images, many, many, many, many)
    assert torch.equal(
        exported_operators.batch_norm(images, many, many, many, many, 0.1, 1e-5)[0], expected
    )
    for place in range(4):
        given = [few if at == place else many for at in range(4)]
        with pytest.raises(ValueError, match="batch norm of"):
            exported_operators.batch_norm(images, *given, 0.1, 1e-5)
    with pytest.raises(ValueError, match="batch norm of"):
        exported_operators.batch_norm_without_statistics(images, few, many, True, 0.1, 1e-5)
    query = torch.rand(1, 2, 8, 4)
    with pytest.raises(ValueError, match="keys do not go with"):
        exported_operators.attention(query, query, query[:, :, :2])
    assert exported_operators.attention(query, query[:, :1], query[:, :1]).shape == query.shape
    lowest = torch.tensor([-(2**63)])
    with pytest.raises(ValueError, match="cut off at the point"):
        exported_operators.divide(lowest, torch.tensor([-1]), rounding_mode="trunc")
    assert exported_operators.divide(lowest, 2, rounding_mode="floor") == -(2**62)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("pow", (10, 10**9)),
        ("pow", (2, 64)),
        ("pow", (-2, 0.5)),
        ("mul", (2**62, 2**62)),
        ("mul", ("x", 10**12)),
        ("mod", ("%1000000000d", 5)),
        ("add", ([1], [2])),
        ("getitem", ("text", 0)),
    ],
)
def test_arithmetic_that_would_not_end(name: str, numbers: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"size|something else|no list"):
        exported_operators.ARITHMETIC[f"_operator.{name}"](*numbers)


def test_arithmetic_on_sizes() -> None:
    arithmetic = exported_operators.ARITHMETIC
    assert arithmetic["_operator.pow"](14, 2) == 196
    assert arithmetic["_operator.floordiv"](15, 2) == 7
    assert arithmetic["_operator.truediv"](15, 2) == 7.5
    assert arithmetic["_operator.getitem"]([3, 4], 1) == 4
    assert arithmetic["torch.sym_int"](2.9) == 2


def test_a_copy_and_a_pickle_of_the_module_answer_alike(tmp_path: Path) -> None:
    program = torch.export.export(network(), (torch.zeros(2, 3, 16, 16),)).run_decompositions()
    torch.export.save(program, tmp_path / "net.pt2")
    model, images = fs.load_model(tmp_path / "net.pt2"), torch.rand(2, 3, 16, 16)
    for copied in (copy.deepcopy(model.module), pickle.loads(pickle.dumps(model.module))):
        assert torch.equal(copied(images), model(images))


def test_archives_that_unpack_to_far_more_than_they_weigh(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("bomb/extra/fluoroscope.json", bytes(2**27))
    with pytest.raises(ModelFormatError, match="would unpack to 128 MiB"):
        fs.load_model(tmp_path / "bomb.pt2")

    def note(members: dict[str, bytes]) -> None:
        members["extra/fluoroscope.json"] = b" " * (2**22 + 1)

    with pytest.raises(ModelFormatError, match=r"fluoroscope\.json is 4 MiB long"):
        fs.load_model(changed(archive, tmp_path / "long.pt2", note))


def test_weights_larger_than_their_bytes(archive: Path, tmp_path: Path) -> None:
    def grow(members: dict[str, bytes]) -> None:
        def change(content: Any) -> None:
            meta = next(iter(content["config"].values()))["tensor_meta"]
            meta["sizes"] = [{"as_int": 10**6}, {"as_int": 10**6}]
            meta["strides"] = [{"as_int": 0}, {"as_int": 0}]

        edit(members, "data/weights/model_weights_config.json", change)

    with pytest.raises(ModelFormatError, match="a weight of"):
        fs.load_model(changed(archive, tmp_path / "large.pt2", grow))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.filterwarnings("ignore")
def test_flipped_bits_are_refused_in_a_line(tmp_path: Path, method: int) -> None:
    rng, path = random.Random(0), tmp_path / "net.pt2"
    seed = save(network(), tmp_path / "seed.pt2", dynamic=False)
    with zipfile.ZipFile(seed) as old, zipfile.ZipFile(path, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    whole = path.read_bytes()
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        with suppress(ModelFormatError):
            fs.load_model(path)


def test_a_member_longer_than_its_file(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    for at in range(len(data) - 4):
        if data[at : at + 4] == b"PK\x01\x02":
            data[at + 20 : at + 28] = (10**6).to_bytes(4, "little") * 2
    (tmp_path / "net.pt2").write_bytes(data)
    with pytest.raises(ModelFormatError, match="cannot be read"):
        fs.load_model(tmp_path / "net.pt2")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.pt2")
    with pytest.raises(UnknownModelError, match="is a pipe"):
        fs.load_model(tmp_path / "net.pt2")
