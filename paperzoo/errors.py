"""The one exception for a user's mistake: its message says what is wrong and what to do; the command line shows no traceback for it."""

from collections.abc import Iterable


class UserError(Exception):
    """One or more problems that the user can mend, shown together.

    Args:
        problems: a sentence each; every one names the config key or file, its value and what is allowed.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    @classmethod
    def from_all(cls, problems: Iterable[str]) -> "UserError":
        return cls(*problems)
