"""Lists all runs below a folder on one page, `index.html`: filtered and sorted there, each with its report."""

import argparse
import sys
from pathlib import Path

from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.reporting.runs import write_index


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("outputs"), help="where runs lie (outputs)")
    try:
        page, runs = write_index(parser.parse_args().folder)
    except UserError as error:
        report_user_error(error)
        return EXIT_USER_ERROR
    print(f"{page}: {runs.in_words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
