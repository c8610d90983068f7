"""Zip archives that strangers made, in which PyTorch keeps weights and programs."""

import zipfile
from pathlib import Path

from fluoroscope.errors import ModelFormatError

# PyTorch stores its members as they are. Whoever packs them again gains little on weights; what
# gains far more was made to fill a memory.
_FREE = 2**26
_RATIO = 20


def check_unpacking(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive whose members would unpack to far more than it weighs.

    Raises:
        ModelFormatError: they say so of themselves, and nothing was read.
    """
    whole = sum(member.file_size for member in archive.infolist())
    if whole > max(_FREE, _RATIO * path.stat().st_size):
        raise ModelFormatError(
            f"{path} would unpack to {whole / 2**20:.0f} MiB from {path.stat().st_size / 2**20:.1f}"
            " MiB, so it is not read; expected a file as PyTorch writes it, without compression"
        )


def refuse_programs(path: Path) -> None:
    """Refuse what ``torch.jit.save`` wrote, which looks like weights by its name.

    Raises:
        ModelFormatError: it holds a TorchScript program, or unpacks to far too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_unpacking(archive, path)
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return  # no archive: weights are kept in other ways too
    if any("/code/" in member or member.endswith("/constants.pkl") for member in members):
        raise ModelFormatError(
            f"{path} is a TorchScript program, which is not loaded from a file since it is code; "
            "expected a .pt2 file made by torch.export.save, or pass the module that "
            "torch.jit.load gives where you trust the file"
        )
