"""Encoders of questions and sentences: from rows of symbols to vectors."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from pydantic import PositiveInt
from torch import Tensor, nn

from paperzoo.nn.encoder import Encoder

Symbols = Int64[Tensor, "batch symbol"]
Codes = Float[Tensor, "batch feature"]


class WordLSTM(Encoder):
    """Word vectors and an LSTM over them; the code is the state after the last word, whatever padding follows.

    Rows without a word give zeros.

    Args:
        words: size of the vocabulary; symbols are 1 .. `words`, 0 is padding.
        embedding: features of a word vector.
        hidden: units of the LSTM.
    """

    def __init__(self, words: PositiveInt, embedding: PositiveInt, hidden: PositiveInt) -> None:
        super().__init__()
        self.size = hidden
        self.embedding = nn.Embedding(words + 1, embedding, padding_idx=0)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)

    def forward(self, symbols: Symbols) -> Codes:
        lengths = (symbols != 0).sum(1)
        reading = lengths.nonzero().squeeze(1)
        codes = torch.zeros(len(symbols), self.size, device=symbols.device, dtype=self.embedding.weight.dtype)
        if not len(reading):
            return codes
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(symbols[reading]), lengths[reading].cpu(), batch_first=True, enforce_sorted=False
        )
        _, (state, _) = self.lstm(packed)
        return codes.to(state.dtype).index_copy(0, reading, state[-1])


class Bits(Encoder):
    """A question that is a code already: its symbols as numbers.

    Args:
        symbols: length of the code.
    """

    def __init__(self, symbols: PositiveInt) -> None:
        super().__init__()
        self.size = symbols

    def forward(self, symbols: Symbols) -> Codes:
        return symbols.float()


class OneHots(Encoder):
    """Symbols of a few values each, as one-hot vectors side by side.

    Args:
        values: how many values, from 0, each symbol has.
    """

    def __init__(self, values: Sequence[PositiveInt]) -> None:
        super().__init__()
        self.values = tuple(values)
        self.size = sum(values)

    def forward(self, symbols: Symbols) -> Codes:
        columns = zip(symbols.unbind(1), self.values, strict=True)
        return torch.cat([F.one_hot(symbol, count) for symbol, count in columns], dim=1).float()
