"""Where the references live: `goldens/` of a checkout, or the copy that ships inside the installed package."""

from __future__ import annotations

from pathlib import Path


def root() -> Path:
    """The directory that holds `gates/`, `blessed/`, `calibration/`, `paper/`."""
    package = Path(__file__).resolve().parent
    shipped = package / "_goldens"
    return shipped if shipped.is_dir() else package.parent / "goldens"


def gates(profile: str) -> Path:
    """The gates file of a built-in profile."""
    return root() / "gates" / f"{profile}.toml"


def beside(gates_file: Path) -> Path:
    """The directory that holds what belongs to a gates file: the one around `gates/`, or for a file that stands elsewhere its own."""
    return gates_file.parent.parent if gates_file.parent.name == "gates" else gates_file.parent
