"""PNG of an SVG, by resvg (the `plot` extra: 4 MB, nothing else; matplotlib would be 60 MB with numpy on every Pi)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cython_ext import ConfigError

RESVG: Final = "PNG needs resvg: pip install 'bucium[plot]', or let the picture end in .svg"
ENDINGS: Final = (".svg", ".png")


def check(path: Path) -> None:
    """Refuse what `save` would, as far as it can be known before."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"a picture ends in {' or '.join(ENDINGS)}", source=str(path))
    if not path.parent.is_dir():
        raise ConfigError("there is no such folder", source=str(path.parent))
    if path.suffix.lower() == ".png" and find_spec("resvg_py") is None:
        raise ConfigError(RESVG, source=str(path))


def save(svg: str, path: Path) -> None:
    """Write the picture as its name's ending says; ConfigError when that cannot be."""
    check(path)
    data = svg.encode() if path.suffix.lower() == ".svg" else png(svg)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot write: {error.strerror}", source=str(path)) from None


def png(svg: str) -> bytes:
    """ConfigError when resvg is not installed. Letters come from the machine's fonts."""
    try:
        import resvg_py
    except ImportError:
        raise ConfigError(RESVG) from None
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, font_family="DejaVu Sans", sans_serif_family="DejaVu Sans"))
