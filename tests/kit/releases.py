"""Releases for tests: our real wheel under another version, and small ones whose `bucium` does as it is told."""

import base64
import hashlib
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
TAG = f"cp3{sys.version_info[1]}"
WHEEL = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {TAG}-{TAG}-linux_{platform.machine()}\n"
PROGRAM = '''
import sys
from pathlib import Path


def main():
    """`--version`, and `config check FILE`, which refuses what says refuse; `run` ends as EXIT says."""
    if sys.argv[1:2] == ["config"] and "refuse" in Path(sys.argv[-1]).read_text():
        sys.exit("bucium: refused")
'''


def small_wheel(folder: Path, version: str) -> Path:
    """A wheel named bucium that can do nothing but be installed and asked."""
    info = f"bucium-{version}.dist-info"
    files = {
        "bucium.py": PROGRAM,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: bucium\nVersion: {version}\nLicense-Expression: Apache-2.0\n",
        f"{info}/WHEEL": WHEEL,
        f"{info}/entry_points.txt": "[console_scripts]\nbucium = bucium:main\n",
    }
    path = folder / f"bucium-{version}-{TAG}-{TAG}-linux_{platform.machine()}.whl"
    _write(path, {name: text.encode() for name, text in files.items()}, f"{info}/RECORD")
    return path


def renamed(
    wheel: Path, folder: Path, version: str, change: Callable[[dict[str, bytes]], None] = lambda _: None
) -> Path:
    """Our wheel as another version of itself; `change` may break its files."""
    _, old, *tags = wheel.stem.split("-")
    with zipfile.ZipFile(wheel) as archive:
        files = {each: archive.read(each) for each in archive.namelist() if not each.endswith("/RECORD")}
    files = {
        name.replace(f"bucium-{old}.dist-info", f"bucium-{version}.dist-info"): data for name, data in files.items()
    }
    for name in (f"bucium-{version}.dist-info/METADATA", "edge/__init__.py"):
        text = files[name].decode()
        changed = re.sub(rf'(^Version: |^    "){re.escape(old)}', rf"\g<1>{version}", text, count=1, flags=re.MULTILINE)
        assert changed != text or old == version, name
        files[name] = changed.encode()
    change(files)
    path = folder / f"bucium-{version}-{'-'.join(tags)}.whl"
    _write(path, files, f"bucium-{version}.dist-info/RECORD")
    return path


def _write(path: Path, files: dict[str, bytes], record: str) -> None:
    lines = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}")
        archive.writestr(record, "\n".join([*lines, f"{record},,"]) + "\n")


def small_release(folder: Path, version: str) -> Path:
    """An unsigned release of a small wheel and pip's own, made as scripts/release makes one."""
    import ensurepip

    wheels = folder / f"set-{version}" / "wheels"
    wheels.mkdir(parents=True)
    small_wheel(wheels, version)
    # Debian keeps the wheels that a new environment begins with in a folder of its own.
    elsewhere = sysconfig.get_config_var("WHEEL_PKG_DIR") or "/usr/share/python-wheels"
    folders = (Path(ensurepip.__file__).parent / "_bundled", Path(elsewhere))
    pip = next(wheel for each in folders for wheel in each.glob("pip-*.whl"))
    shutil.copy(pip, wheels)
    return packed(wheels.parent, folder / version)


def packed(part: Path, out: Path) -> Path:
    """The release of the wheels in `part`."""
    out.mkdir(parents=True)
    subprocess.run([sys.executable, ROOT / "scripts" / "release_set.py", part, out, "test"], check=True, cwd=ROOT)
    return out


def like(release: Path, wheel: Path, out: Path) -> Path:
    """`release` with another wheel of ours."""
    part = out.with_name(out.name + ".set")
    part.mkdir(parents=True)
    subprocess.run(["tar", "--extract", "--file", release / "release.tar", "--directory", part], check=True)
    for old in (*part.glob("wheels/bucium-*.whl"), part / "requirements.txt", part / "SHA256SUMS"):
        old.unlink()
    shutil.copy(wheel, part / "wheels")
    return packed(part, out)
