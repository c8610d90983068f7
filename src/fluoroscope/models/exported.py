"""Exported programs (``.pt2``), rebuilt without running anything that is in the file.

``torch.export.load`` unpickles parts of an archive, evaluates the strings in which it keeps sizes
and turns names into Python source, so it may not be given a stranger's file. Here the archive's
JSON graph is read directly: each node must be one of the ATen operators that check what they are
given (or plain arithmetic on sizes), its arguments plain values, and the weights raw bytes. The
result is a ``torch.fx`` graph in which every name is our own.

What a program cannot state (labels, mean, std, outputs) may be put beside it when it is saved::

    torch.export.save(program, "net.pt2", extra_files={"fluoroscope.json": json.dumps(
        {"labels": [...], "mean": [...], "std": [...]})})
"""

import json
import math
import operator
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from fluoroscope.errors import ModelFormatError, UnknownModelError
from fluoroscope.files import regular_file
from fluoroscope.models.archives import check_unpacking
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.exported_operators import (
    ARITHMETIC,
    checked,
    find_operator,
    trusts_scales,
)
from fluoroscope.models.preprocessing import Preprocessing
from fluoroscope.models.wording import first_line

_NOTE = "extra/fluoroscope.json"
_STATED = ("mean", "std", "input_size", "channels", "channel_order", "resize", "interpolation")

# The numbers by which the format names types, layouts and memory formats.
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_LAYOUTS = {7: torch.strided}

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
# What is read into memory as text: a note with many labels, and graphs of the largest networks.
_NOTE_LIMIT, _GRAPH_LIMIT = 2**22, 2**25
# A weight may be repeated, as by expand(), up to this many bytes.
_REPEATED = 2**24


def load_exported(path: Path, device: torch.device) -> Classifier:
    """The network in a ``.pt2`` file, on a device.

    Input size and channels are read from the program's own input, and the rest from the extra file
    ``fluoroscope.json`` if the archive has one. A program exported for a fixed batch size takes any
    number of images: they go through it in batches of that size.

    Raises:
        UnknownModelError: there is no such file.
        ModelFormatError: no exported program, one that cannot be rebuilt from plain data, or one
            exported in training mode.
    """
    path = regular_file(path, "one saved by torch.export.save", UnknownModelError)
    try:
        with zipfile.ZipFile(path) as file:
            check_unpacking(file, path)
            return _classifier(_Archive(file, path), device)
    except ModelFormatError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as problem:
        raise ModelFormatError(
            f"{path} cannot be read ({first_line(problem)}); expected a file saved by "
            "torch.export.save"
        ) from problem
    # A graph in which something is missing or of the wrong kind.
    except Exception as odd:
        raise ModelFormatError(
            f"{path} is no well-formed exported program ({type(odd).__name__}: {first_line(odd)}); "
            "export the network again"
        ) from odd


def _classifier(archive: "_Archive", device: torch.device) -> Classifier:
    note = archive.json(_NOTE, _NOTE_LIMIT) if _NOTE in archive.members else {}
    rebuilt = _Rebuild(archive, device)
    made = Classifier(
        rebuilt.module().to(device),
        labels=note.get("labels"),
        outputs=note.get("outputs", "logits"),
        name=str(archive.path),
        preprocessing=_preprocessing(note, rebuilt.shape, archive.path),
    )
    made.batch_size = rebuilt.shape[0]
    return made


def _preprocessing(note: Mapping[str, Any], shape: list[int | None], path: Path) -> Preprocessing:
    stated = {name: note[name] for name in _STATED if name in note}
    stated = {name: tuple(v) if isinstance(v, list) else v for name, v in stated.items()}
    if shape[1] is not None:
        stated.setdefault("channels", shape[1])
    if None not in shape[2:]:
        stated.setdefault("input_size", tuple(shape[2:]))
    source = "fluoroscope.json" if note else "the program's input, which states no mean and std,"
    return Preprocessing(**stated, stated_by=f"{source} in {path.name}")


class _Archive:
    """The members of an open ``.pt2`` file, read as JSON or raw tensors and in no other way."""

    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self._file = file
        self.path = path
        # Every member lies in a folder called after the archive.
        self.members = {name.partition("/")[2]: name for name in file.namelist()}

    def json(self, member: str, limit: int = _GRAPH_LIMIT) -> Any:
        size = self._file.getinfo(self.members[member]).file_size
        if size > limit:
            raise ModelFormatError(
                f"{self.path}: {member} is {size / 2**20:.0f} MiB long; expected at most "
                f"{limit / 2**20:.0f} MiB: export the network again"
            )
        return json.loads(self._file.read(self.members[member]))

    def program(self) -> tuple[str, Any]:
        """The name and the graph of the one program it holds."""
        names = [n for n in self.members if n.startswith("models/") and n.endswith(".json")]
        if len(names) != 1:
            raise ModelFormatError(
                f"{self.path} holds {len(names)} exported programs; expected one, saved by "
                "torch.export.save of PyTorch 2.9 or newer"
            )
        name = names[0].removeprefix("models/").removesuffix(".json")
        return name, self.json(names[0])["graph_module"]

    def weights(self, program: str) -> dict[str, Tensor]:
        """Parameters, buffers and constants by name."""
        found = {}
        for kind in ("weights", "constants"):
            folder = f"data/{kind}/"
            for name, entry in self.json(f"{folder}{program}_{kind}_config.json")["config"].items():
                if entry["use_pickle"] or entry["tensor_meta"] is None:
                    raise self.refusal(f"the pickled object {name!r}")
                raw = self._file.read(self.members[folder + entry["path_name"]])
                found[name] = _tensor(raw, entry["tensor_meta"])
        return found

    def refusal(self, what: str) -> ModelFormatError:
        return ModelFormatError(
            f"{self.path} holds {what}, which is not loaded since a file may come from anybody; "
            "expected the ATen operators of image networks: load the network itself by "
            "python:package.module:function"
        )


def _tensor(raw: bytes, meta: Mapping[str, Any]) -> Tensor:
    dtype = _DTYPES[meta["dtype"]]
    sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
    count = math.prod(sizes)
    if count * dtype.itemsize > max(len(raw), _REPEATED):
        raise ValueError(f"a weight of {sizes} out of {len(raw)} bytes")
    if not raw:
        return torch.empty(sizes, dtype=dtype, device="cpu")
    # Copied, so that PyTorch aligns the memory as its kernels like it.
    flat = torch.frombuffer(bytearray(raw), dtype=dtype).clone()
    return torch.as_strided(flat, sizes, strides, meta["storage_offset"]["as_int"])


class _Rebuild:
    """The graph of an archive, and the same as a module."""

    def __init__(self, archive: _Archive, device: torch.device) -> None:
        self._archive = archive
        self._device = device
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._values: dict[str, fx.Node] = {}
        self.shape: list[int | None] = []
        name, program = archive.program()
        graph = program["graph"]
        self._add_inputs(graph, program["signature"]["input_specs"], archive.weights(name))
        for node in graph["nodes"]:
            self._add_node(node)
        self._graph.output(self._logits(graph["outputs"], program["signature"]["output_specs"]))

    def module(self) -> nn.Module:
        return fx.GraphModule(self._root, self._graph, "ExportedProgram")

    def _add_inputs(self, graph: Any, specs: Iterable[Any], weights: Mapping[str, Tensor]) -> None:
        for (kind, spec), value in zip(map(_only, specs), graph["inputs"], strict=True):
            if kind in ("parameter", "buffer", "tensor_constant"):
                name = spec[f"{kind}_name"]
                self._values[spec["arg"]["name"]] = self._hold(kind, name, weights[name])
            elif kind == "user_input" and "as_tensor" in value and not self.shape:
                name = value["as_tensor"]["name"]
                self._values[name] = self._graph.placeholder("images")
                self.shape = [size.get("as_int") for size in graph["tensor_values"][name]["sizes"]]
            elif "as_none" not in value:
                raise self._archive.refusal(f"another input of kind {_only(value)[0]}")
        if len(self.shape) != 4:
            raise ModelFormatError(
                f"{self._archive.path} takes {len(self.shape)} dimensions; expected one input "
                "(N, C, H, W)"
            )

    def _hold(self, kind: str, name: str, tensor: Tensor) -> fx.Node:
        readable = re.sub(r"\W", "_", name, flags=re.ASCII)
        own = f"w{len(self._values)}_{readable}"
        if kind == "parameter":
            self._root.register_parameter(own, nn.Parameter(tensor, requires_grad=False))
        else:
            self._root.register_buffer(own, tensor)
        return self._graph.get_attr(own)

    def _add_node(self, node: Any) -> None:
        outputs = node["outputs"]
        if not outputs:
            return  # an assertion about sizes or types, true of the example it was exported with
        given = {item["name"]: item["arg"] for item in node["inputs"]}
        self._check_mode(given)
        function = self._function(node["target"], given)
        if isinstance(function, torch._ops.OpOverload):
            args, kwargs = self._arguments(function, node["inputs"])
            function = checked(function)
        else:
            args, kwargs = [self._value(item["arg"]) for item in node["inputs"]], {}
        made = self._graph.call_function(function, tuple(args), kwargs)
        if len(outputs) == 1 and "as_tensors" not in outputs[0]:
            self._name(made, outputs[0])
        else:
            several = outputs[0]["as_tensors"] if len(outputs) == 1 else outputs
            for index, output in enumerate(several):
                part = self._graph.call_function(operator.getitem, (made, index))
                self._name(part, {"as_tensor": output} if "name" in output else output)

    def _name(self, node: fx.Node, output: Any) -> None:
        kind, value = _only(output)
        if kind != "as_none":
            self._values[value["name"] if kind == "as_tensor" else value["as_name"]] = node

    def _check_mode(self, inputs: Mapping[str, Any]) -> None:
        training = any(inputs.get(flag, {}).get("as_bool") for flag in ("train", "training"))
        dropping = inputs.get("dropout_p", {}).get("as_float", 0) > 0
        # A batch norm without running statistics uses its batch's own in either mode.
        batch_only = "as_none" in inputs.get("running_mean", {})
        if (training and not batch_only) or dropping:
            raise ModelFormatError(
                f"{self._archive.path} was exported in training mode, so it answers at random; "
                "call module.eval() before torch.export.export"
            )

    def _function(self, target: str, given: Mapping[str, Any]) -> Callable[..., Any]:
        if target in ARITHMETIC:
            return ARITHMETIC[target]
        found = None
        if match := _ATEN.fullmatch(target):
            found = find_operator(match[1], match[2])
        if found is None or trusts_scales(target, given):
            raise self._archive.refusal(f"the operator {target!r}")
        return found

    def _arguments(
        self, function: torch._ops.OpOverload, inputs: Any
    ) -> tuple[list[Any], dict[str, Any]]:
        schema = {argument.name: argument for argument in function._schema.arguments}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for item in inputs:
            stated = schema[item["name"]]
            required = not stated.has_default_value() and not stated.kwarg_only
            if item.get("kind") == 1 or (not item.get("kind") and required):
                args.append(self._value(item["arg"]))
            else:
                kwargs[stated.name] = self._value(item["arg"])
        return args, kwargs

    def _value(self, argument: Any) -> Any:
        kind, value = _only(argument)
        if kind.endswith("s") and isinstance(value, list):
            return [self._value(_member(kind, item)) for item in value]
        match kind:
            case "as_none":
                return None
            case "as_tensor":
                return self._values[value["name"]]
            case "as_optional_tensor":
                return self._value(value)
            case "as_sym_int" | "as_sym_float" | "as_sym_bool":
                return self._values[value["as_name"]] if "as_name" in value else self._value(value)
            case "as_scalar_type":
                return _DTYPES[value]
            case "as_memory_format":
                return _MEMORY_FORMATS[value]
            case "as_layout":
                return _LAYOUTS[value]
            case "as_device":
                return self._device
            case "as_float":
                return float(value)  # "-Infinity" and "NaN" are written as text
            case "as_int" | "as_bool" | "as_string" if isinstance(value, int | str):
                return value
        raise self._archive.refusal(f"an argument of kind {kind}")

    def _logits(self, outputs: Any, specs: Any) -> fx.Node:
        returned = [
            self._values[output["as_tensor"]["name"]]
            for output, spec in zip(outputs, specs, strict=True)
            if "user_output" in spec and "as_tensor" in output
        ]
        if len(returned) != 1:
            raise ModelFormatError(
                f"{self._archive.path} returns {len(returned)} tensors; expected one, the logits "
                "(N, classes): export a module that returns nothing else"
            )
        return returned[0]


def _only(union: Any) -> tuple[str, Any]:
    """The one field of a union and its value."""
    ((kind, value),) = union.items()
    return kind, value


def _member(kind: str, item: Any) -> Any:
    """One item of a list argument as an argument by itself."""
    if kind == "as_tensors":
        return {"as_tensor": item}
    if kind == "as_optional_tensors":
        return item
    return {kind[:-1]: item}
