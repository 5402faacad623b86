"""Documents nobody here wrote: what Debian's documentation packages hold, fetched once by `apt-get download`."""

import gzip
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PACKAGE_NAMES = """
python3.11-doc postgresql-doc-15 debian-faq debian-faq-de debian-reference-en developers-reference
debian-policy maint-guide debmake-doc installation-guide-amd64 git-doc apt-doc sqlite3-doc libreoffice-common
gnuplot-doc texlive-latex-base-doc python3-docx python-reportlab-doc shared-mime-info iso-codes lintian
debian-handbook harden-doc exim4-doc-html doc-debian bash-doc libxml2-doc docbook-xml
"""
PACKAGES = _PACKAGE_NAMES.split()
_SAME_FORMAT = {"ott": "odt", "otp": "odp", "ots": "ods", "docbook": "xml", "rst": "txt"}
_MOST = {"html": 700, "htm": 50, "txt": 300, "pdf": 300, "xml": 150, "py": 60, "png": 40, "svg": 20, "gif": 20}
_MOST_OTHERS = 80
_TYPES_WORDS = """
html htm txt md xml pdf epub odt odp ods docx pptx xlsx doc xls ppt rtf csv json jsonl py js c h sh sql yml
ini php png jpg gif svg eml
"""
_TYPES = frozenset(_TYPES_WORDS.split())
_MIN_BYTES = 200


@dataclass(frozen=True, slots=True)
class RealFile:
    """A document on the disk, the name it is ingested under, and the package it is from."""

    path: Path
    name: str
    package: str

    @property
    def kind(self) -> str:
        """Its extension."""
        return self.name.rpartition(".")[2]


class NoPackages(Exception):
    """The system's package tool gave nothing."""


def real_files(at_most: int | None = None, folder: Path | None = None) -> list[RealFile]:
    """Return documents of every type there is, spread evenly over packages; the packages are fetched when missing.

    Raises:
        NoPackages: there is no `apt-get`, or it could fetch none of them.
    """
    folder = folder or Path(tempfile.gettempdir()) / "parley-documents"
    roots = [root for package in PACKAGES if (root := _unpacked(package, folder))]
    if not roots:
        raise NoPackages("no documentation package could be fetched with `apt-get download`; try `apt-get update`")
    by_kind: dict[str, list[RealFile]] = defaultdict(list)
    for root in roots:
        for path in sorted(root.rglob("*")):
            if (found := _taken(path, root, folder / "unzipped")) is not None:
                by_kind[found.kind].append(found)
    chosen = [file for kind, files in sorted(by_kind.items()) for file in _spread(files, _MOST.get(kind, _MOST_OTHERS))]
    return chosen if at_most is None else _spread(chosen, at_most)


def _unpacked(package: str, folder: Path) -> Path | None:
    """Return where the package's files are; None if it cannot be had."""
    root = folder / "packages" / package
    if (root / ".complete").exists():
        return root
    with tempfile.TemporaryDirectory() as parent:
        done = subprocess.run(
            ["apt-get", "download", "-q", package], cwd=parent, capture_output=True, timeout=600, check=False
        )
        archive = next(Path(parent).glob("*.deb"), None)
        if done.returncode or archive is None:
            return None
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["dpkg", "-x", str(archive), str(root)], check=True, capture_output=True, timeout=600)
    (root / ".complete").touch()
    return root


def _taken(path: Path, root: Path, unzipped: Path) -> RealFile | None:
    if not path.is_file() or path.is_symlink():
        return None
    name = path.name
    if name.endswith(".gz"):
        name = name.removesuffix(".gz")
        if name.rpartition(".")[2].lower() not in _TYPES:
            return None
        target = unzipped / root.name / path.relative_to(root).with_suffix("")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.decompress(path.read_bytes()))
        path = target
    stem, _, extension = name.rpartition(".")
    extension = _SAME_FORMAT.get(extension.lower(), extension.lower())
    if not stem or extension not in _TYPES or path.stat().st_size < _MIN_BYTES:
        return None
    return RealFile(path, f"{stem}.{extension}", root.name)


def _spread(files: list[RealFile], at_most: int) -> list[RealFile]:
    """Return `at_most` of the files, the packages taking turns, those of a package spread over its folders."""
    if len(files) <= at_most:
        return files
    queues: dict[str, list[RealFile]] = defaultdict(list)
    for file in files:
        queues[file.package].append(file)
    shares = dict.fromkeys(queues, 0)
    left = at_most
    while left:
        for package, queue in queues.items():
            if left and shares[package] < len(queue):
                shares[package] += 1
                left -= 1
    return [file for package, queue in queues.items() for file in _evenly(queue, shares[package])]


def _evenly(files: list[RealFile], count: int) -> Iterable[RealFile]:
    return (files[index * len(files) // count] for index in range(count))
