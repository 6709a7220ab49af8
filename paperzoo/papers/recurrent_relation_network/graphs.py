"""The graphs that questions are thought about on: facts of a story, objects in the plane, rows of a table.

An encoder gives for each batch a complete graph of every set, whose nodes know the question.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from paperzoo.batches import ObjectQuestions, StoryQuestions
from paperzoo.nn.encoder import Encoder
from paperzoo.nn.questions import WordLSTM
from paperzoo.papers.recurrent_relation_network.network import Graph, GraphEncoder


class FactGraphs(GraphEncoder):
    """Facts and the question, read by an LSTM each that share the word vectors; every edge knows the question.

    A fact is also told its place in the story, counted from a number that training draws for each question anew, so
    that only differences of places mean something (section 3.1). A fact is its own neighbour, too.

    Args:
        words: size of the vocabulary.
        embedding: features of a word vector.
        hidden: units of each LSTM.
        most_facts: of a story.
    """

    def __init__(
        self, words: PositiveInt, embedding: PositiveInt, hidden: PositiveInt, most_facts: PositiveInt
    ) -> None:
        super().__init__()
        self.reader = WordLSTM(words, embedding, hidden)
        self.question = WordLSTM(words, embedding, hidden)
        self.question.embedding = self.reader.embedding
        self.most_facts = most_facts
        self.size = hidden + 2 * most_facts + hidden
        self.edge_size = hidden

    def forward(self, batch: StoryQuestions) -> Graph:
        items, number, _ = batch.story.shape
        facts = self.reader(batch.story.flatten(0, 1)).view(items, number, -1)
        question = self.question(batch.question)
        first = torch.zeros(items, 1, dtype=torch.int64, device=facts.device)
        if self.training:
            first.random_(0, self.most_facts)
        places = F.one_hot(first + torch.arange(number, device=facts.device), 2 * self.most_facts).to(facts.dtype)
        nodes = torch.cat([facts, places, question[:, None].expand(-1, number, -1)], dim=2)
        present = (batch.story != 0).any(2)
        return Graph(nodes, None, present[:, None], question[:, None, None], present)


class ObjectGraphs(GraphEncoder):
    """Objects, each of which knows the question; none is its own neighbour.

    Args:
        object_size: features of an object.
        question: encodes the question.
        coordinates: how many features, the first ones, are a place; edges then know how far apart their objects are.
            0: the objects have no place.
    """

    def __init__(self, object_size: PositiveInt, question: Encoder, coordinates: NonNegativeInt) -> None:
        super().__init__()
        self.question = question
        self.coordinates = coordinates
        self.size = object_size + question.size
        self.edge_size = 1 if coordinates else 0

    def forward(self, batch: ObjectQuestions) -> Graph:
        number = batch.objects.shape[1]
        question = self.question(batch.question)
        nodes = torch.cat([batch.objects, question[:, None].expand(-1, number, -1)], dim=2)
        distances = None
        if self.coordinates:
            places = batch.objects[..., : self.coordinates]
            distances = (places[:, :, None] - places[:, None]).square().sum(3, keepdim=True).sqrt()
        return Graph(nodes, None, batch.present[:, None] & others(number, nodes.device), distances, batch.present)


def others(number: int, device: torch.device) -> Bool[Tensor, "node node"]:
    """Everyone but oneself."""
    return ~torch.eye(number, dtype=torch.bool, device=device)
