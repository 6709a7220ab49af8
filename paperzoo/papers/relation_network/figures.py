"""Figures of the physical systems (Santoro et al. 2017, Figure 5)."""

from collections.abc import Iterator

from jaxtyping import Bool, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from paperzoo.batches import PhysicalSystems
from paperzoo.reporting.style import GREY, RIGHT, WRONG, picture_axes

PANEL_INCHES = 2.6


def connections_figure(
    batch: PhysicalSystems,
    inferred: Bool[Tensor, "batch ball ball"] | None = None,
    systems: Int64[Tensor, " batch"] | None = None,
) -> Figure:
    """Where the balls went, and the connections at the end: found (green), missed (grey), and made up (red, dashed).

    Args:
        batch: the scenes; a trajectory starts with the x and y of each frame, all x first.
        inferred: connections; None draws the true ones.
        systems: the inferred number of systems, for the titles.
    """
    figure = Figure(figsize=(PANEL_INCHES * len(batch.systems), PANEL_INCHES + 0.3), layout="constrained")
    for scene, axes in enumerate(figure.subplots(1, len(batch.systems), squeeze=False)[0]):
        frames = (batch.trajectory.shape[2] - 1) // 2
        x, y = (part.cpu() for part in batch.trajectory[scene, :, : 2 * frames].unflatten(1, (2, frames)).unbind(1))
        for ball in range(len(x)):
            (line,) = axes.plot(x[ball], y[ball], linewidth=0.8, alpha=0.6)
            axes.plot(x[ball, -1], y[ball, -1], "o", color=line.get_color(), markersize=6)
            axes.annotate(str(ball + 1), (float(x[ball, -1]), float(y[ball, -1])), fontsize=6, ha="center", va="center")
        true = batch.connected[scene].cpu()
        _draw_connections(axes, x[:, -1], y[:, -1], true, true if inferred is None else inferred[scene].cpu())
        guess = "" if systems is None else f", inferred {int(systems[scene])}"
        count = int(batch.systems[scene])
        axes.set_title(f"{count} system{'s' * (count > 1)}{guess}", fontsize=9)
        axes.set_aspect("equal")
        picture_axes(axes)
    figure.set_label(
        "Where the balls of some scenes went. Lines join those that are connected: found (green), missed (grey), and "
        "made up (red, dashed)"
    )
    return figure


def _draw_connections(axes: Axes, x: Tensor, y: Tensor, true: Tensor, inferred: Tensor) -> None:
    inferred = inferred | inferred.T
    for first, second in _pairs(true | inferred):
        found, there = bool(inferred[first, second]), bool(true[first, second])
        colour = RIGHT if found and there else GREY if there else WRONG
        ends = ([float(x[first]), float(x[second])], [float(y[first]), float(y[second])])
        axes.plot(*ends, color=colour, linewidth=1.6, linestyle="-" if there else "--", zorder=0)


def _pairs(connected: Tensor) -> Iterator[tuple[int, int]]:
    yield from ((int(first), int(second)) for first, second in connected.triu(1).nonzero())
