"""Names of networks and where each leads, told without loading one: no heavy library is needed."""

import json
import re
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fluoroscope.errors import ModelFormatError, UnknownModelError
from fluoroscope.files import looking_up, shortened
from fluoroscope.models.archives import refuse_programs
from fluoroscope.models.wording import did_you_mean, suggestion

BUILTIN: tuple[str, ...] = ("digits-linear", "digits-cnn", "digits-robust")

UNTRAINED: tuple[str, ...] = ("invertible",)
"""Built in without weights: ``fluoroscope train`` makes these for the data at hand."""

WEIGHTS = files("fluoroscope.models") / "weights"
"""Where those of the built-in networks lie, and the record of how each was made."""

_WEIGHTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
_FORMS = (
    ("torchvision/NAME", "torchvision", "torchvision's published weights, labels and transforms"),
    ("timm/NAME", "timm", "timm's published weights, labels and data configuration"),
    ("hf/OWNER/NAME", "transformers", "an image classifier of the Hugging Face hub"),
    (
        "DIRECTORY",
        "transformers",
        "a local directory in the Hugging Face format: config.json, model.safetensors, "
        "preprocessor_config.json",
    ),
    ("FILE.pt2", None, "a program saved by torch.export.save"),
    ("python:PACKAGE.MODULE:FUNCTION", None, "what a function of yours returns; runs your code"),
    (
        "invertible",
        None,
        "an invertible network that fluoroscope train made; --checkpoint FILE says which",
    ),
)


def list_models() -> dict[str, Any]:
    """What ``fluoroscope models list`` prints: the built-ins, and the forms of names.

    ``built_in`` holds one entry for each built-in network with its record; ``forms`` holds, for
    each form of name, what it means and which library it needs; ``libraries`` says which of those
    are installed.
    """
    libraries = [library for _, library, _ in _FORMS if library]
    return {
        "built_in": [{"name": name, "training": builtin_record(name)} for name in BUILTIN],
        "forms": [
            {"form": form, "meaning": meaning, "needs": library}
            for form, library, meaning in _FORMS
        ],
        "libraries": {library: find_spec(library) is not None for library in libraries},
    }


def builtin_record(name: str) -> dict[str, Any]:
    """How a network of the package was trained and what it reached, as plain values.

    Raises:
        UnknownModelError: no built-in network has that name.
        ModelFormatError: the package's file is missing or damaged.
    """
    if name not in BUILTIN:
        raise not_built_in(name)
    try:
        record: dict[str, Any] = json.loads((WEIGHTS / f"{name}.json").read_text("utf-8"))
    except (OSError, ValueError) as problem:
        raise ModelFormatError(
            f"the record of {name} cannot be read ({problem}); install fluoroscope again"
        ) from problem
    return record


def not_built_in(name: str) -> UnknownModelError:
    """The error for a name that no built-in network has."""
    return UnknownModelError(
        f"no built-in network is called {name!r}; expected {' or '.join(BUILTIN)}"
    )


def check_model(name: str) -> None:
    """Refuse a name of which nothing but the name need be known to see that it leads nowhere.

    Raises:
        UnknownModelError, ModelFormatError: as loading it would.
    """
    _, source = find_source(name)
    listed, plain = torchvision_names(), name.partition("/")[2]
    # Whatever torchvision can build stands somewhere in its files.
    if source == "torchvision" and listed and not _mentioned(plain):
        raise not_in_torchvision(plain, listed)


def find_source(name: str | Path) -> tuple[str | Path, str]:
    """The name with ``~`` expanded, and which kind of source it leads to.

    Raises:
        UnknownModelError: it leads to no network; the message has the nearest names.
        ModelFormatError: it leads to weights alone.
    """
    if str(name).startswith("~"):
        with looking_up(name, UnknownModelError):
            name = Path(name).expanduser()
    source = source_of(name)
    if source is None:
        raise _unknown(str(name))
    return name, source


def source_of(name: str | Path) -> str | None:
    """Which kind of source a name leads to, if any."""
    text = str(name)
    if isinstance(name, str):
        prefix, slash, _ = text.partition("/")
        if text in BUILTIN or text in UNTRAINED:
            return "built-in"
        if text.startswith("python:"):
            return "python"
        if slash and prefix in ("torchvision", "timm", "hf"):
            return prefix
    if text.endswith(".pt2"):
        return "exported program"
    with suppress(OSError, ValueError):  # what the file system refuses to look up is told later
        return "directory" if text and Path(text).is_dir() else None
    return None


def not_in_torchvision(
    name: str, known: tuple[str, ...], what: str = "is not in torchvision"
) -> UnknownModelError:
    """The error for a name that torchvision builds no classification network of."""
    return UnknownModelError(
        f"torchvision/{name} {what}; {did_you_mean(name, known, 'torchvision/')}expected a "
        "classification network such as torchvision/resnet18"
    )


@cache
def torchvision_names() -> tuple[str, ...]:
    """The classification networks of torchvision, read off its files without importing them.

    Where they are not written as they used to be it is empty, or lacks some.
    """
    # torchvision takes those that it registers in this folder for networks that classify images.
    made = re.findall(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", _torchvision_text(), re.M)
    return tuple(sorted(made))


def _mentioned(name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", _torchvision_text()) is not None


@cache
def _torchvision_text() -> str:
    found = find_spec("torchvision")
    if found is None or found.origin is None:
        return ""
    folder = Path(found.origin).parent / "models"
    with suppress(OSError, UnicodeDecodeError):
        return "\n".join(file.read_text("utf-8") for file in sorted(folder.glob("*.py")))
    return ""


def _unknown(text: str) -> UnknownModelError | ModelFormatError:
    with looking_up(text, UnknownModelError):
        there = Path(text).is_file()
    if there:
        if text.endswith(_WEIGHTS):
            refuse_programs(Path(text))
            return ModelFormatError(
                f"{text} holds weights but no network; expected its network too: a name such as "
                "torchvision/resnet18 or python:package.module:function, and this as checkpoint="
            )
        return UnknownModelError(f"{text} is a file, but no exported program; expected a .pt2 file")
    return UnknownModelError(
        f"no network is called {shortened(text)!r}; {suggestion(_nearest(text))}expected a "
        f"built-in ({', '.join(BUILTIN)}), {', '.join(form for form, _, _ in _FORMS)}"
    )


def _nearest(text: str) -> list[str]:
    if text.count("/") == 1 and not text.startswith((".", "/")):
        return [f"hf/{text}"]
    full = {name: name for name in (*BUILTIN, *UNTRAINED)}
    full |= {name: f"torchvision/{name}" for name in torchvision_names()}
    if text in full:
        return [full[text]]
    return [full[name] for name in get_close_matches(text.casefold(), full, n=3)]
