"""Recurrent Relational Networks (Palm et al. 2018)."""

from paperzoo.papers.recurrent_relation_network.module import RecurrentQuestionModule, SudokuModule
from paperzoo.papers.recurrent_relation_network.network import (
    QuestionNetwork,
    RecurrentRelationalNetwork,
    SudokuNetwork,
)

__all__ = [
    "QuestionNetwork",
    "RecurrentQuestionModule",
    "RecurrentRelationalNetwork",
    "SudokuModule",
    "SudokuNetwork",
]
