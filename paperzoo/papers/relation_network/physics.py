"""Physical systems: which balls are connected, and how many systems there are (Santoro et al. 2017, section 3.4)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, nn

from paperzoo.batches import PhysicalSystems
from paperzoo.module import Direction, Measures, OptimizerFactory, PaperModule
from paperzoo.papers.relation_network.figures import connections_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_SCENES = 4


class PhysicsModule(PaperModule):
    """Cross-entropy of every possible connection, or softmax cross-entropy of the number of systems.

    A scene counts as right if all of its connections are (section 5.5), or its number of systems is.

    Args:
        network: from a batch to logits (1, batch, outputs).
        target: what is inferred: a logit for every ordered pair of balls, or one for every number of systems from 1.
        balls: balls of a scene.
        optimizer: makes the optimiser from the parameters.
    """

    accepts: ClassVar[tuple[type, ...]] = (PhysicalSystems,)
    objective: ClassVar[str] = "val/accuracy"
    objective_direction: ClassVar[Direction] = "max"
    measures: ClassVar[Measures] = {"accuracy": "max", "accuracy_pairs": "max", "loss": "min"}

    def __init__(
        self, network: nn.Module, target: Literal["connections", "systems"], balls: int, optimizer: OptimizerFactory
    ) -> None:
        super().__init__()
        self.network = network
        self.target = target
        self.balls = balls
        self.optimizer = optimizer

    @classmethod
    def check(cls, **arguments: Any) -> Iterator[str]:
        balls, answers = arguments["balls"], arguments["network"].get("answers")
        wanted = balls**2 if arguments["target"] == "connections" else balls
        if answers != wanted:
            yield f"network.answers={answers}: target={arguments['target']} of {balls} balls needs {wanted}"

    def logits(self, batch: PhysicalSystems) -> Tensor:
        """Of every ordered pair (batch, ball, ball), or of every number of systems (batch, number)."""
        logits = self.network(batch)[-1]
        return logits.view(-1, self.balls, self.balls) if self.target == "connections" else logits

    def loss(self, logits: Tensor, batch: PhysicalSystems) -> Tensor:
        """The mean over scenes and, for connections, over pairs of balls."""
        if self.target == "connections":
            return F.binary_cross_entropy_with_logits(logits, batch.connected.to(logits.dtype))
        return F.cross_entropy(logits, batch.systems - 1)

    def right(self, logits: Tensor, batch: PhysicalSystems) -> Bool[Tensor, " batch"]:
        """Whether everything that was asked of a scene is inferred."""
        if self.target == "connections":
            return ((logits > 0) == batch.connected).flatten(1).all(1)
        return logits.argmax(1) == batch.systems - 1

    def training_step(self, batch: PhysicalSystems, batch_idx: int) -> Tensor:
        logits = self.logits(batch)
        loss = self.loss(logits, batch)
        self.log_step(lambda: {"train/loss": loss.detach(), "train/accuracy": self.right(logits, batch).float().mean()})
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters())

    def validation_step(self, batch: PhysicalSystems, batch_idx: int) -> None:
        logits = self.logits(batch)
        self.tally.add("loss", self.loss(logits, batch).expand(len(batch.systems)))
        self.tally.add("accuracy", self.right(logits, batch))
        if self.target == "connections":
            self.tally.add("accuracy_pairs", ((logits > 0) == batch.connected).flatten())

    test_step = validation_step

    def predict_step(self, batch: PhysicalSystems, batch_idx: int) -> dict[str, Tensor | list[str]]:
        """The connected balls, counted from 1, as "1-4 2-7", or the number of systems."""
        logits = self.logits(batch)
        if self.target == "systems":
            confidence, number = logits.softmax(1).max(1)
            return {"systems": number + 1, "confidence": confidence}
        above = logits.triu(1) > 0
        return {"connections": [" ".join(f"{i + 1}-{j + 1}" for i, j in scene.nonzero().tolist()) for scene in above]}

    def figures(self, batch: PhysicalSystems) -> "dict[str, Figure]":
        """Trajectories of some scenes with the connections that are there and those that are inferred."""
        shown = PhysicalSystems(*(column[:SHOWN_SCENES] for column in batch))
        logits: Any = self.logits(shown)
        if self.target == "connections":
            return {"connections": connections_figure(shown, inferred=(logits > 0).cpu())}
        return {"connections": connections_figure(shown, systems=(logits.argmax(1) + 1).cpu())}
