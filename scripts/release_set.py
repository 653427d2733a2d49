"""The facts of a release, for scripts/release: lock, list of parts, sums, archive, release.json. Needs pip, for its `packaging`.

python release_set.py SET OUT COMMIT     SET/wheels is there
"""

import hashlib
import json
import subprocess
import sys
import time
import uuid
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

BILL = "sbom.cdx.json"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Wheel:
    """A wheel and what its own METADATA says."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            [name] = [
                each for each in archive.namelist() if each.count("/") == 1 and each.endswith(".dist-info/METADATA")
            ]
            self.said = HeaderParser().parsestr(archive.read(name).decode())
        self.path, self.sha256 = path, sha256(path)
        self.name, self.version = canonicalize_name(self.said["Name"]), self.said["Version"]
        self.purl = f"pkg:pypi/{self.name}@{self.version}"

    @property
    def needs(self) -> set[str]:
        """Names, for the machine that runs this."""
        wanted = map(Requirement, self.said.get_all("Requires-Dist", []))
        return {
            canonicalize_name(each.name)
            for each in wanted
            if each.marker is None or each.marker.evaluate({"extra": ""})
        }

    def licence(self) -> list[dict[str, Any]]:
        if expression := self.said["License-Expression"]:
            return [{"expression": expression}]
        named = [
            each.rpartition(" :: ")[2] for each in self.said.get_all("Classifier", []) if each.startswith("License ::")
        ]
        short = [line for line in [(self.said["License"] or "").strip()] if line and "\n" not in line]
        return [{"license": {"name": name}} for name in named or short]

    def component(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": "application" if self.name == "bucium" else "library",
            "bom-ref": self.purl,
            "name": self.name,
            "version": self.version,
            "purl": self.purl,
            "hashes": [{"alg": "SHA-256", "content": self.sha256}],
        }
        if self.said["Summary"]:
            found["description"] = self.said["Summary"]
        return found | ({"licenses": self.licence()} if self.licence() else {})


def bill(wheels: list[Wheel], made: str) -> dict[str, Any]:
    """CycloneDX 1.6."""
    [ours] = [wheel for wheel in wheels if wheel.name == "bucium"]
    there = {wheel.name: wheel.purl for wheel in wheels}
    serial = uuid.uuid5(uuid.NAMESPACE_OID, " ".join(wheel.sha256 for wheel in wheels))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"timestamp": made, "component": ours.component()},
        "components": [wheel.component() for wheel in wheels if wheel is not ours],
        "dependencies": [
            {"ref": wheel.purl, "dependsOn": sorted(there[name] for name in wheel.needs if name in there)}
            for wheel in wheels
        ],
    }


def main(part: Path, out: Path, commit: str) -> None:
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    wheels = [Wheel(path) for path in sorted((part / "wheels").glob("*.whl"))]
    [ours] = [wheel for wheel in wheels if wheel.name == "bucium"]
    *_, tag, _, platform = ours.path.stem.split("-")
    lock = "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels)
    (part / "requirements.txt").write_text(lock)
    (part / BILL).write_text(json.dumps(bill(wheels, made), indent=1) + "\n")
    files = [path for path in sorted(part.rglob("*")) if path.is_file()]
    (part / "SHA256SUMS").write_text("".join(f"{sha256(path)}  {path.relative_to(part)}\n" for path in files))
    plain = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "--mode=u=rwX,go=rX"]
    subprocess.run(["tar", "--create", "--file", out / "release.tar", *plain, "--directory", part, "."], check=True)
    facts = {
        "kind": "bucium-release",
        "version": ours.version,
        "python": f"{tag[2]}.{tag[3:]}",
        "architectures": [arch for arch in ("aarch64", "x86_64") if platform.endswith(arch)],
        "made": made,
        "commit": commit,
        "sha256": sha256(out / "release.tar"),
        "sbom": {"file": BILL, "sha256": sha256(part / BILL)},
    }
    (out / "release.json").write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
