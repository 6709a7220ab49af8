"""The one exception for a user's mistake: it says what is wrong and what to do, and is shown without a traceback."""

import sys

EXIT_USER_ERROR = 2


class UserError(Exception):
    """One or more problems that the user can mend, shown together.

    Args:
        problems: a sentence each; every one names the config key or file, its value and what is allowed.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def report_user_error(error: UserError) -> None:
    """Prints every problem once, on stderr, without a traceback."""
    for problem in error.problems:
        print(f"paperzoo: {problem}", file=sys.stderr)
