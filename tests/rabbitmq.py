"""`python -m tests.rabbitmq SUITE`: the RabbitMQ of another suite of Debian, as any user, for `nox -s brokers`.

Unpacks its packages below the cache folder, once, and prints the folder, which ORDERSYS_RABBITMQ_DIR takes. Where it
can't be had it prints why, and exits 1. Programs of another suite need the C library of that suite: they are told to
load it from the same folder, so that nothing of this machine is changed.
"""

import os
import platform
import re
import sys
import tempfile
from pathlib import Path

from ordersys.local.packages import NoRabbitMQ, cache
from tests.debian import NotToBeHad, options, run, unpack

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_WANTED = re.compile(
    r"(erlang-\S+|rabbitmq-server|zlib1g"
    r"|lib(c6|gcc-s1|stdc\+\+6|tinfo6|ncurses6|ssl3\S*|systemd0|sctp1|cap2|zstd1|lz4-1|lzma5|gcrypt20|gpg-error0))"
)
_DEPENDS = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
_ELF = b"\x7fELF"


def unpacked(suite: str) -> Path:
    """The folder that a suite's RabbitMQ is unpacked in, now or before. Raises NotToBeHad."""
    folder = cache() / f"rabbitmq-{suite}-{platform.machine()}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache(), prefix="fetching-") as scratch:
            _fetch(suite, Path(scratch))
            _relocate(Path(scratch) / "root", folder)
            (Path(scratch) / "root").rename(folder)
    return folder


def _fetch(suite: str, scratch: Path) -> None:
    # As if nothing was installed: the suite's own libraries are wanted, newer or older than this machine's.
    (scratch / "status").touch()
    (scratch / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::State::status": f"{scratch}/status",
        "Dir::Etc::sourcelist": f"{scratch}/sources.list",
        "Dir::Etc::sourceparts": "-",
    }
    of_suite = options(scratch, settings)
    run(scratch, "apt-get", *of_suite, "-qq", "update")
    without = [f"--no-{kind}" for kind in _DEPENDS]
    names = run(scratch, "apt-cache", *of_suite, "depends", "--recurse", *without, "rabbitmq-server")
    unpack(scratch, of_suite, sorted({name for name in names.split() if _WANTED.fullmatch(name)}))


def _mirror() -> str:
    """The address this machine gets Debian's packages from."""
    if not _KEYRING.exists():
        raise NotToBeHad(f"{_KEYRING} is missing (package debian-archive-keyring)")
    listed = run(Path("/"), "apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)", "Identifier: Packages")
    sites = [line.split()[0] for line in listed.splitlines() if line.endswith(" Debian")]
    if not sites:
        raise NotToBeHad("no mirror of Debian is known here; `apt-get update` makes those known that are configured")
    return sites[0]


def _relocate(root: Path, final: Path) -> None:
    """Tells the programs where they, their loader and their libraries will be."""
    # RabbitMQ 4 starts another Erlang by the one beside erlexec when it joins a cluster.
    for script in (root / "usr/lib/erlang/bin/erl", *(root / "usr/lib/erlang").glob("erts-*/bin/erl")):
        script.write_text(script.read_text().replace("ROOTDIR=/usr/lib/erlang", f'ROOTDIR="{final}/usr/lib/erlang"'))
    # The link to it that older suites have leads to this machine's own.
    (loader,) = (path for path in root.glob("**/ld-linux-*.so.*") if not path.is_symlink())
    folders = {path.parent.relative_to(root) for path in root.glob("**/*-linux-gnu/*.so.*")}
    libraries = os.pathsep.join(sorted(str(final / folder) for folder in folders))
    for path in (root / "usr/lib/erlang").rglob("*"):
        if path.is_symlink() or not path.is_file() or not _begins_with(path, _ELF):
            continue
        if os.access(path, os.X_OK) and path.suffix != ".so":
            run(root, "patchelf", "--set-interpreter", str(final / loader.relative_to(root)), str(path))
        run(root, "patchelf", "--force-rpath", "--set-rpath", libraries, str(path))


def _begins_with(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def main() -> None:
    """Prints the folder."""
    (suite,) = sys.argv[1:]
    try:
        print(unpacked(suite))
    except (NotToBeHad, NoRabbitMQ) as error:
        print(f"RabbitMQ of Debian {suite} can't be had: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
