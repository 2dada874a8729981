"""`python -m tools.bundle`: writes contract/; `--archive FOLDER`: packs it into FOLDER as well."""

from argparse import ArgumentParser
from pathlib import Path

from tools.bundle import version, write
from tools.bundle.archive import pack


def main() -> None:
    """Writes the folder, prints what was made."""
    parser = ArgumentParser(prog="python -m tools.bundle", description=write.__doc__)
    parser.add_argument("--archive", type=Path, metavar="FOLDER", help="also make an archive of it in FOLDER")
    archive = parser.parse_args().archive
    folder = write()
    print(f"bundle: {folder.name}/, {sum(path.is_file() for path in folder.rglob('*'))} files")
    if archive:
        print(f"bundle: {pack(folder, archive, version())}")


if __name__ == "__main__":
    main()
