"""Encoders of questions: what padding does, and what it must not."""

import pytest
import torch
from torch import Tensor

from paperzoo.nn.questions import Bits, OneHots, WordLSTM

ROWS = torch.tensor([[3, 1, 4, 1], [5, 2, 0, 0], [0, 0, 0, 0], [2, 0, 0, 0]])


@pytest.fixture
def encoder() -> WordLSTM:
    torch.manual_seed(0)
    return WordLSTM(words=5, embedding=3, hidden=4)


def alone(encoder: WordLSTM, row: Tensor) -> Tensor:
    """The state after the last word of an LSTM that is given the words of the row and nothing else."""
    _, (state, _) = encoder.lstm(encoder.embedding(row[row != 0])[None])
    return state[0, 0]


def test_the_code_is_the_state_after_the_last_word(encoder: WordLSTM) -> None:
    codes = encoder(ROWS)
    assert codes.shape == (4, encoder.size)
    for row in (0, 1, 3):
        torch.testing.assert_close(codes[row], alone(encoder, ROWS[row]))


def test_more_padding_changes_nothing(encoder: WordLSTM) -> None:
    torch.testing.assert_close(encoder(torch.nn.functional.pad(ROWS, (0, 7))), encoder(ROWS))


def test_the_other_rows_of_a_batch_change_nothing(encoder: WordLSTM) -> None:
    torch.testing.assert_close(encoder(ROWS[1:2]), encoder(ROWS)[1:2])


def test_a_row_without_a_word_gives_zeros(encoder: WordLSTM) -> None:
    assert not encoder(ROWS)[2].any()
    assert torch.equal(encoder(torch.zeros(2, 3, dtype=torch.int64)), torch.zeros(2, 4))


def test_the_order_of_the_words_matters(encoder: WordLSTM) -> None:
    there, back = encoder(torch.tensor([[1, 2], [2, 1]]))
    assert not torch.allclose(there, back)


def test_words_that_occur_learn_and_padding_does_not(encoder: WordLSTM) -> None:
    encoder(ROWS[1:]).sum().backward()
    gradient = encoder.embedding.weight.grad
    assert gradient is not None
    assert gradient.any(1).tolist() == [False, False, True, False, False, True]


def test_rows_without_a_word_still_leave_a_code_that_can_be_trained_on(encoder: WordLSTM) -> None:
    encoder(ROWS).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())


def test_bits_are_the_symbols_themselves() -> None:
    code = torch.tensor([[0, 1, 1], [1, 0, 0]])
    assert Bits(3).size == 3
    assert torch.equal(Bits(3)(code), code.float())


def test_one_hots_stand_side_by_side() -> None:
    encoder = OneHots([2, 3])
    assert encoder.size == 5
    assert encoder(torch.tensor([[0, 2], [1, 0]])).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]


def test_one_hots_refuse_a_question_of_another_length() -> None:
    with pytest.raises(ValueError, match="argument"):
        OneHots([2, 3])(torch.zeros(1, 3, dtype=torch.int64))
