"""What judges a run apart from its own test."""

from typing import TYPE_CHECKING, ClassVar

from paperzoo.module import Direction

if TYPE_CHECKING:
    from paperzoo.runner.build import Parts
    from paperzoo.runner.job import Job


class Judge:
    """Judges a trained model when its run has been tested; the config node `judge`.

    A search then optimises the judgement in place of the model's objective.
    """

    accepts: ClassVar[tuple[type, ...]]
    """The batches of the data on which it can judge."""
    metric: ClassVar[str]
    """What the judgement is called: `<stage>/<quantity>`."""
    direction: ClassVar[Direction]
    """Whether a small or a large judgement is good."""

    def __call__(self, job: "Job", parts: "Parts") -> float:
        """The judgement.

        Args:
            job: the run.
            parts: its model, with the weights that were tested, and its data, set up.
        """
        raise NotImplementedError(f"{type(self).__name__} does not judge")
