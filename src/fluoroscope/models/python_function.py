"""Networks built by the user's own code: ``python:package.module:function``, or of a file."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fluoroscope.errors import ModelFormatError, UnknownModelError
from fluoroscope.files import regular_file
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.wording import did_you_mean, first_line


def load_python(name: str) -> Classifier:
    """Import a module, call a function of it without arguments, and wrap the network it returns.

    Modules in the current directory are found too. This is the one form of name that runs code, and
    it runs what the user names.

    Args:
        name: ``package.module:function``, or ``path/to/file.py:function``, whose folder is
            importable meanwhile; the function returns a module or a ``Classifier``. A module or
            ``Classifier`` itself may stand in its place.

    Raises:
        UnknownModelError: no such module or function.
        ModelFormatError: the import or the function failed, or returned something else.
    """
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise UnknownModelError(
            f"python:{name} names no function; expected python:package.module:function"
        )
    with _importable(Path.cwd()), _importable(Path(where).parent.resolve()):
        network = _find(where, attribute)
        try:
            if not isinstance(network, nn.Module | Classifier):
                network = network()
        # Whatever the user's own code raises; its traceback stays reachable as the cause.
        except (Exception, SystemExit) as problem:
            raise ModelFormatError(
                f"python:{name} raised {type(problem).__name__}: {first_line(problem)}; expected a "
                "function without arguments that returns a torch.nn.Module"
            ) from problem
    if not isinstance(network, nn.Module | Classifier):
        raise ModelFormatError(
            f"python:{name} returned {_what(network)}; expected a torch.nn.Module or a "
            "fluoroscope.Classifier"
        )
    module = network.module if isinstance(network, Classifier) else network
    for weight, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value) or value.is_meta:
            raise ModelFormatError(
                f"python:{name} returned a {type(module).__name__} whose {weight} has no memory "
                f"({'lazy' if is_lazy(value) else 'device meta'}); expected a network with its "
                "weights: give it one picture, or memory by to_empty() and weights, before "
                "returning it"
            )
    return (
        network if isinstance(network, Classifier) else Classifier(network, name=f"python:{name}")
    )


def _what(returned: Any) -> str:
    kind = type(returned).__name__
    if isinstance(returned, type):
        return f"the class {returned.__name__}, not an object of it"
    if isinstance(returned, Mapping) and any(isinstance(v, Tensor) for v in returned.values()):
        return f"a {kind} of tensors, which are weights without a network"
    if isinstance(returned, tuple | list):
        return f"a {kind} of {', '.join(type(one).__name__ for one in returned[:4])}"
    return f"a {kind}"


def _find(where: str, attribute: str) -> Any:
    try:
        module = _of_file(Path(where)) if where.endswith(".py") else import_module(where)
    except ModuleNotFoundError as problem:
        if problem.name and (where == problem.name or where.startswith(f"{problem.name}.")):
            raise UnknownModelError(
                f"python:{where}:{attribute}: there is no Python module {problem.name!r}, neither "
                "installed nor in the current directory"
            ) from problem
        raise _failed(where, problem) from problem
    # Whatever importing the user's own code raises; a script may end the process.
    except (Exception, SystemExit) as problem:
        raise _failed(where, problem) from problem
    function = getattr(module, attribute, None)
    if not callable(function):
        known = [name for name, value in vars(module).items() if callable(value)]
        raise UnknownModelError(
            f"python:{where}:{attribute}: {where} has no function {attribute!r}; "
            f"{did_you_mean(attribute, known)}expected python:package.module:function"
        )
    return function


def _of_file(path: Path) -> ModuleType:
    """The module of a file, under a name of its own, by which what it pickles is found."""
    file = regular_file(path, "a file of Python code", UnknownModelError)
    name = f"_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]}_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _failed(where: str, problem: BaseException) -> ModelFormatError:
    return ModelFormatError(
        f"importing {where} raised {type(problem).__name__}: {first_line(problem)}; expected a "
        "module that imports"
    )


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules of a folder are found inside the block."""
    # The command line is started by a script elsewhere, so Python has not put it there itself.
    here = str(folder)
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
