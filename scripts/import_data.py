"""Fills the prepared data from files on this machine: `python scripts/import_data.py cifar10 ~/Downloads`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from paperzoo.errors import UserError


class ListNames(argparse.Action):
    """Prints the data sets, one a line."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from paperzoo.data.prepared.importing import importable

        print("\n".join(sorted(importable())))
        parser.exit()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Prepares a data set from its official files, or from plain arrays, that lie in a folder. "
        "Afterwards it is used without network: python train.py data=NAME data.download=false",
        epilog="Plain arrays: train_images.npy and test_images.npy (uint8, images x channels x height x width), "
        "train_labels.npy and test_labels.npy (whole numbers from 0), "
        "train_attributes.npy and test_attributes.npy (bool).",
    )
    parser.add_argument("name", metavar="NAME", help="the data set; --list names them all")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder with the files")
    parser.add_argument(
        "--data-root",
        default=os.environ.get("PAPERZOO_DATA", "~/.cache/paperzoo"),
        help="where prepared data sets live (default: $PAPERZOO_DATA or ~/.cache/paperzoo; here %(default)s)",
    )
    parser.add_argument("--list", action=ListNames, nargs=0, help="name all data sets and exit")
    arguments = parser.parse_args()
    from paperzoo.data.prepared.importing import import_folder  # takes seconds to import, and the help does not need it

    try:
        prepared = import_folder(arguments.name, arguments.folder, arguments.data_root)
    except UserError as error:
        print("\n".join(f"paperzoo: {problem}" for problem in error.problems), file=sys.stderr)
        return 2
    print(f"{arguments.name} is ready in {prepared}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
