"""The mean of what counts."""

import torch

from paperzoo.tally import Tally


def test_a_tally_gives_the_mean_over_all_items_and_leaves_out_what_has_none() -> None:
    tally = Tally()
    tally.add("solved", torch.tensor([True, False, False]))
    tally.add("solved", torch.tensor([True]))
    tally.add("loss", torch.tensor([0.25]))
    tally.add("core_recovered", torch.tensor([], dtype=torch.bool))
    alone = tally.means(lambda pair, reduce_op: pair, torch.device("cpu"))
    assert alone == {"solved": 0.5, "loss": 0.25}
    other = {"solved": torch.tensor([4.0, 4.0]), "loss": torch.tensor([0.0, 0.0])}
    pending = iter([*other.values(), torch.tensor([0.0, 0.0])])
    both = tally.means(lambda pair, reduce_op: pair + next(pending), torch.device("cpu"))
    assert both == {"solved": 0.75, "loss": 0.25}
