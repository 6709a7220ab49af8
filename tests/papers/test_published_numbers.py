"""Numbers of the papers that presets carry, as they stand in the tables."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from paperzoo.cli import CONFIG_FOLDER
from paperzoo.reporting.results import flat

CLEVR = ("", "_count", "_exist", "_compare_numbers", "_query_attribute", "_compare_attribute")
STACKED_ATTENTION = (0.685, 0.522, 0.711, 0.735, 0.853, 0.523)


def published(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONFIG_FOLDER)):
        config = compose("train", [f"experiment={name}", "data_root=/nowhere"])
    return flat(OmegaConf.to_container(config.published))


@pytest.mark.parametrize(
    ("name", "metric", "value"),
    [
        ("realnvp/lsun_bedroom", "test/bits_per_dim", 2.72),
        ("realnvp/lsun_tower", "test/bits_per_dim", 2.81),
        ("realnvp/lsun_church", "test/bits_per_dim", 3.08),
        ("realnvp/celeba", "test/bits_per_dim", 3.02),
        ("recurrent_relation_network/sudoku", "test/solved_givens17", 0.966),
        ("recurrent_relation_network/sudoku_relation_network", "test/solved_givens17", 0),
        *(
            ("relation_network/clevr_cnn_lstm_sa_frozen", f"test/accuracy{kind}", value)
            for kind, value in zip(CLEVR, STACKED_ATTENTION, strict=True)
        ),
    ],
)
def test_a_preset_carries_the_number_of_its_table(name: str, metric: str, value: float) -> None:
    assert published(name)[metric]["value"] == value
    assert "Table" in published(name)[metric]["source"]
    assert "uncertain" not in published(name)[metric]["source"]


def test_what_is_recalled_of_neurosats_table_is_called_uncertain() -> None:
    rows = published("neurosat/sr_u10_40")
    shares = {"accuracy": 0.85, "accuracy_satisfiable": 0.73, "accuracy_unsatisfiable": 0.96, "solved": 0.7}
    assert {name: rows[f"test/{name}"]["value"] for name in shares} == shares
    recalled = {name for name in shares if "uncertain" in rows[f"test/{name}"]["source"]}
    assert recalled == {"accuracy_satisfiable", "accuracy_unsatisfiable"}
    accuracy = (rows["test/accuracy_satisfiable"]["value"] + rows["test/accuracy_unsatisfiable"]["value"]) / 2
    assert accuracy == pytest.approx(shares["accuracy"], abs=0.01)  # as many of each
