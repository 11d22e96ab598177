"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

RUN = "run"  # the lock of whatever needs the folder for itself

Model = Annotated[str | None, typer.Option(help="Only cells of this model.")]
Scheme = Annotated[str | None, typer.Option(help="Only cells of this scheme, and full precision.")]
Method = Annotated[str | None, typer.Option(help="Only cells of this method, and full precision.")]
Seed = Annotated[int | None, typer.Option(help="Only cells of this seed, and full precision.")]
Cells = Annotated[list[str] | None, typer.Option("--cell", help="Only this cell; give it several times.")]
