"""Fetching published weights: what may be fetched, where from, and one clear line when it fails.

Only configuration files and safetensors come from a model repository, never code or pickles. What
was fetched before is found without a network, in the caches of ``huggingface_hub`` and
``torch.hub``.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from fluoroscope.errors import (
    HubUnreachableError,
    MissingExtraError,
    ModelFormatError,
    UnknownModelError,
)
from fluoroscope.models.wording import first_line

_WANTED = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
_PATIENCE = 5  # seconds until a server that says nothing counts as out of reach


def require(library: str, purpose: str) -> None:
    """Make sure an optional library is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec(library) is None:
        raise MissingExtraError(
            f"{purpose} needs the library {library}, which is not installed; "
            "pip install 'fluoroscope[hub]'"
        )


def fetch_repository(repository: str) -> Path:
    """The local folder with a hub model's configuration and safetensors, fetched if need be.

    Raises:
        UnknownModelError: the hub has no such model, or does not show it to you.
        HubUnreachableError: no answer, and no copy in the cache.
    """
    require("huggingface_hub", f"hf/{repository}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    name, _, revision = repository.partition("@")
    try:
        with no_progress_bars():
            folder = snapshot_download(name, revision=revision or None, allow_patterns=_WANTED)
    except GatedRepoError as problem:
        raise UnknownModelError(
            f"{name} on the Hugging Face hub is open only to those who accepted its terms; "
            "accept them there and log in with: hf auth login"
        ) from problem
    except (RepositoryNotFoundError, HFValidationError) as problem:
        raise UnknownModelError(
            f"the Hugging Face hub has no model {repository!r} (or it is private); "
            "expected owner/name as its page shows them"
        ) from problem
    # The hub's client can fail in as many ways as a network can; its first line says which.
    except Exception as problem:
        raise _unreachable(f"the Hugging Face hub for {repository}", problem) from problem
    return Path(folder)


def fetch_file(url: str) -> Path:
    """The local copy of one published weights file, fetched and its hash checked if need be.

    Raises:
        HubUnreachableError: no answer, and no copy in the cache.
    """
    name = Path(urlsplit(url).path).name
    copy = Path(torch.hub.get_dir()) / "checkpoints" / name
    if copy.is_file():
        return copy
    expected = torch.hub.HASH_REGEX.search(name)
    try:
        # torch.hub waits for ever for a server that says nothing, so knock first.
        with urlopen(Request(url, method="HEAD"), timeout=_PATIENCE):
            pass
        copy.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, os.fspath(copy), expected.group(1) if expected else None, progress=False
        )
    except (URLError, OSError) as problem:
        raise _unreachable(url, problem) from problem
    except RuntimeError as problem:  # the hash of what came is wrong
        raise ModelFormatError(
            f"{url} did not arrive whole ({first_line(problem)}); try again"
        ) from problem
    return copy


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """None of the hub client's progress bars inside the block; the caller's setting afterwards."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if disabled:
            disable_progress_bars()
        else:
            enable_progress_bars()


def _unreachable(tried: str, problem: Exception) -> HubUnreachableError:
    return HubUnreachableError(
        f"could not reach {tried} ({first_line(problem)}); without a network these work: "
        "the built-ins digits-linear, digits-cnn and digits-robust, a local directory in the "
        "Hugging Face format, a .pt2 file, python:package.module:function"
    )
