"""Makes a dashboard in W&B for the runs of a preset: `python scripts/wandb_workspace.py experiment=... [sweep=...]`.

    pip install -e ".[wandb]"
    python scripts/wandb_workspace.py experiment=glow/digits_laptop sweep=glow

It shows the objective and the published numbers first, then validation and training, then what the sweep goes through.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import wandb
from wandb_sweep import composed
from wandb_workspaces.reports import v2 as panels
from wandb_workspaces.workspaces import Metric, RunsetSettings, Section, Workspace

from paperzoo.cli import complete_arguments
from paperzoo.config import class_of
from paperzoo.errors import EXIT_USER_ERROR, UserError, report_user_error
from paperzoo.module import PaperModule
from paperzoo.reporting.results import Objective, number
from paperzoo.runner.objective import judged_by

ARROWS = {"min": "small is good", "max": "large is good"}


def workspace(typed: Sequence[str], entity: str, project: str) -> Workspace:
    """The dashboard, not saved.

    Args:
        typed: what would be typed after `python train.py`.
        entity: user or team of W&B.
        project: of W&B.

    Raises:
        UserError: the run would be refused.
    """
    config, job = composed(complete_arguments(list(typed)))
    model = class_of(job.settings["model"], PaperModule)
    assert model is not None  # else it would have been refused
    objective, space = judged_by(job.settings, model), list(config.hydra.sweeper.get("params") or {})
    sections = [
        Section(
            name="Published and measured", panels=list(_results(objective, job.settings["published"])), is_open=True
        ),
        Section(name="Validation", panels=list(_validation(model)), is_open=True),
        Section(name="Training", panels=[panels.LinePlot(title="Training", metric_regex="^train/.*")], is_open=True),
    ]
    if space and objective:
        sections.insert(1, Section(name="Search", panels=list(_search(objective, space)), is_open=True))
    return Workspace(
        name=job.name,
        entity=entity,
        project=project,
        sections=sections,
        auto_generate_panels=True,  # a section for the figures
        runset_settings=RunsetSettings(filters=[Metric("Group") == job.name]),
    )


def _results(objective: Objective | None, published: Mapping[str, Any]) -> Iterator[Any]:
    if objective:
        title = f"{objective.metric}, {ARROWS[objective.direction]}"
        yield panels.LinePlot(title=title, y=[objective.metric], smoothing_type="none")
    for metric, row in published.items():
        title = f"{metric}: published {number(row['value'])} ({row['source']}), {ARROWS[row['direction']]}"
        yield panels.BarPlot(title=title, metrics=[metric])


def _validation(model: type[PaperModule]) -> Iterator[Any]:
    """A chart for each quantity; a family of them in one."""
    for name in model.measures:
        pattern = re.escape(f"val/{name}").replace(r"\*", ".*")
        yield panels.LinePlot(title=f"val/{name}", metric_regex=f"^{pattern}$", smoothing_type="none")


def _search(objective: Objective, space: Sequence[str]) -> Iterator[Any]:
    best = f"{objective.metric}.{objective.direction}"  # what W&B keeps of it
    columns = [panels.ParallelCoordinatesPlotColumn(metric=panels.Config(key), display_name=key) for key in space]
    result = panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(best), display_name=objective.metric)
    yield panels.ParallelCoordinatesPlot(title="Search", columns=[*columns, result])
    yield panels.ParameterImportancePlot(with_respect_to=best)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0] + ".")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="+", help="as for train.py; sweep=... adds the search")
    parser.add_argument("--entity", help="user or team of W&B; that of the account unless told")
    parser.add_argument("--project", default="paperzoo")
    arguments = parser.parse_args()
    try:
        entity = arguments.entity or wandb.Api().default_entity
        saved = workspace(arguments.overrides, entity or "", arguments.project).save()
    except UserError as error:
        report_user_error(error)
        return EXIT_USER_ERROR
    except (wandb.errors.Error, OSError) as error:
        said = str(error).splitlines()[0]
        report_user_error(UserError(f"W&B: the dashboard cannot be saved ({said}); wandb login, or --entity NAME"))
        return EXIT_USER_ERROR
    print(f"{saved.name}: {saved.url}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
