"""The dashboard in W&B, as it would be sent."""

import json
import sys
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from tests.conftest import ROOT

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
pytest.importorskip("wandb_workspaces")
sys.path.append(str(ROOT / "scripts"))

from wandb_workspace import workspace


@pytest.fixture
def sent() -> Any:
    """What saving the dashboard of these overrides would send."""

    def made(*typed: str) -> dict[str, Any]:
        GlobalHydra.instance().clear()
        return json.loads(workspace(typed, "me", "paperzoo")._to_model().model_dump_json(by_alias=True))

    yield made
    GlobalHydra.instance().clear()


def sections(view: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found = view["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in found}


def test_a_dashboard_shows_the_objective_beside_the_published_number_and_the_search(sent: Any) -> None:
    view = sent("experiment=glow/cifar10", "sweep=glow")
    assert (view["displayName"], view["entity"], view["project"]) == ("glow/cifar10", "me", "paperzoo")
    assert '"glow/cifar10"' in json.dumps(view["spec"]["section"]["runSets"][0]["filters"])
    shown = sections(view)
    first, published = shown["Published and measured"]
    assert first["config"]["metrics"] == ["val/bits_per_dim"]
    assert published["config"]["chartTitle"] == "test/bits_per_dim: published 3.35 (Table 2), small is good"
    coordinates, importance = shown["Search"]
    columns = [column["accessor"] for column in coordinates["config"]["columns"]]
    assert (columns[0], columns[-1]) == ("config:model.value.optimizer.lr", "summary:val/bits_per_dim.min")
    assert importance["config"]["targetKey"] == "val/bits_per_dim.min"


def test_families_of_metrics_share_a_chart_and_without_a_sweep_there_is_no_search(sent: Any) -> None:
    shown = sections(sent("experiment=dann/moons"))
    assert "Search" not in shown
    patterns = [panel["config"]["metricRegex"] for panel in shown["Validation"]]
    assert patterns
    assert all(pattern.startswith("^val/") and pattern.endswith("$") for pattern in patterns)
