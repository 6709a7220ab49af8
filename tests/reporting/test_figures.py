import logging
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from paperzoo.batches import LabelledImages
from paperzoo.reporting.about import About
from paperzoo.reporting.figures import Figures
from paperzoo.reporting.loggers import TensorBoard, close_loggers
from tests.tiny_training import TinyData, TinyModel, tiny_trainer


class Painter(TinyModel):
    """Draws random numbers, and notes in which state it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []

    def figures(self, batch: LabelledImages) -> dict[str, Figure]:
        noise = torch.rand(20)
        state = {"training": self.training, "grad": torch.is_grad_enabled(), "noise": noise, "batch": batch}
        self.asked.append({**state, "step": self.trainer.global_step})
        figure = Figure(figsize=(2, 2))
        figure.add_subplot().plot(noise)
        figure.set_label("Noise (Figure 1)")
        return {"noise at / epoch": figure, "plain": Figure(figsize=(1, 1))}


class Clumsy(TinyModel):
    def figures(self, batch: LabelledImages) -> dict[str, Figure]:
        torch.rand(3)
        raise RuntimeError("out of paint")


def painter() -> Painter:
    torch.manual_seed(1)
    return Painter()


def test_figures_are_drawn_every_n_epochs_and_at_the_end(tmp_path):
    model = painter()
    tiny_trainer(tmp_path, Figures(every_n_epochs=2), max_epochs=5).fit(model, TinyData())
    assert [call["step"] for call in model.asked] == [12, 24, 30]


def test_figures_show_the_first_held_out_batch_in_evaluation_mode_without_gradients(tmp_path):
    model, data = painter(), TinyData()
    tiny_trainer(tmp_path, Figures(every_n_epochs=1), max_epochs=1).fit(model, data)
    (call,) = model.asked
    assert not call["training"]
    assert not call["grad"]
    assert torch.equal(call["batch"].image, next(iter(data.val_dataloader())).image)


def test_every_drawing_sees_the_same_random_numbers(tmp_path):
    model = painter()
    tiny_trainer(tmp_path, Figures(every_n_epochs=1), max_epochs=2).fit(model, TinyData())
    first, second = model.asked
    assert torch.equal(first["noise"], second["noise"])


@pytest.mark.parametrize("model_class", [Painter, Clumsy])
def test_drawing_does_not_change_the_training(tmp_path, model_class):
    weights, random_states = [], []
    for name, callbacks in {"with": [Figures(every_n_epochs=1)], "without": []}.items():
        torch.manual_seed(1)
        model = model_class()
        tiny_trainer(tmp_path / name, *callbacks).fit(model, TinyData())
        weights.append(model.net[1].weight.detach())
        random_states.append(torch.get_rng_state())
        assert model.training
    assert torch.equal(*weights)
    assert torch.equal(*random_states)


def test_files_carry_their_captions_and_plain_names(tmp_path):
    tiny_trainer(tmp_path, Figures(every_n_epochs=1), max_epochs=1).fit(painter(), TinyData())
    captions = {p.name: Image.open(p).text["Description"] for p in (tmp_path / "figures").iterdir()}
    assert captions == {"noise_at_epoch.png": "Noise (Figure 1)", "plain.png": "plain"}


def test_figures_are_drawn_after_a_test(tmp_path):
    model = painter()
    tiny_trainer(tmp_path, Figures(every_n_epochs=1)).test(model, TinyData(), verbose=False)
    assert len(model.asked) == 1
    assert (tmp_path / "figures" / "plain.png").exists()


def test_an_error_in_a_figure_is_a_warning_and_the_training_goes_on(tmp_path, caplog):
    figures = Figures(every_n_epochs=1)
    trainer = tiny_trainer(tmp_path, figures, max_epochs=2)
    with caplog.at_level(logging.WARNING, logger="paperzoo"):
        trainer.fit(Clumsy(), TinyData())
    assert trainer.current_epoch == 2
    assert [str(error) for error in figures.errors] == ["out of paint", "out of paint"]
    assert "out of paint" in caplog.text


def test_tensorboard_gets_the_figures(tmp_path):
    trainer = tiny_trainer(tmp_path, Figures(every_n_epochs=1), max_epochs=1)
    tensorboard = TensorBoard(tmp_path, About("tiny", "", "train"))
    trainer.loggers = [*trainer.loggers, tensorboard]
    trainer.fit(painter(), TinyData())
    close_loggers([tensorboard], "finished")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(tensorboard.log_dir)
    events.Reload()
    assert set(events.Tags()["images"]) == {"figures/noise at / epoch", "figures/plain"}
