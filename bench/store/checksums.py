"""SHA256SUMS in a stage's folder: what its files were when it ended. `sha256sum -c SHA256SUMS` reads it too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swq.errors import UserError
from swq.files import sha256_file, write_text

SUMS = "SHA256SUMS"


def seal(folder: Path, names: Iterable[str] | None = None) -> None:
    """Write the checksums of files in a folder, by default of all, once they are final."""
    everything = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    chosen = sorted(everything if names is None else names)
    write_text(folder / SUMS, "".join(f"{sha256_file(folder / name)}  {name}\n" for name in chosen))


def check(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """Check files of a folder, by default all that were sealed, before anything is read from them.

    Returns:
        the SHA-256 of every file that was sealed.

    Raises:
        UserError: one is missing or damaged, or the folder was not sealed.
    """
    sums = _sums(folder)
    for name in sums if names is None else names:
        path = folder / name
        if name not in sums or not path.is_file():
            raise UserError(f"{path} is missing, or its folder is damaged; {AGAIN.format(folder)}")
        if sha256_file(path) != sums[name]:
            raise UserError(f"{path} is damaged: its bytes are not those that were written; {AGAIN.format(folder)}")
    return sums


AGAIN = "remove {} and run `python -m bench run`"


def _sums(folder: Path) -> dict[str, str]:
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged ({error}); {AGAIN.format(folder)}") from error
