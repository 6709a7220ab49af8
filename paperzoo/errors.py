"""The one exception for a user's mistake: it says what is wrong and what to do, and is shown without a traceback."""


class UserError(Exception):
    """One or more problems that the user can mend, shown together.

    Args:
        problems: a sentence each; every one names the config key or file, its value and what is allowed.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
