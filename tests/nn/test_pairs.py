"""The perceptron over pairs: the same numbers and gradients as the tiled and concatenated form, for less."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from paperzoo.nn import pairs
from paperzoo.nn.pairs import PairRelation

OBJECT, CODE, WIDTHS = 5, 3, (8, 7, 6)


def relation(widths: tuple[int, ...] = WIDTHS, **arguments: bool) -> PairRelation:
    torch.manual_seed(1)
    return PairRelation(OBJECT, CODE, widths, **arguments).double()


def plain(module: PairRelation) -> Callable[[Tensor], Tensor]:
    """g as one perceptron on concatenated inputs."""
    return nn.Sequential(
        *(part for layer in (module.first, *module.layers) for part in (layer, nn.ReLU()))  # type: ignore[misc]
    )


def sets(batch: int = 3, number: int = 4) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(batch, number, OBJECT).double().requires_grad_(), torch.randn(batch, CODE).double()


def concatenated(module: PairRelation, objects: Tensor, code: Tensor) -> Tensor:
    batch, number, _ = objects.shape
    shape = (batch, number, number, -1)
    inputs = [objects[:, :, None].expand(shape), objects[:, None].expand(shape), code[:, None, None].expand(shape)]
    return plain(module)(torch.cat(inputs, dim=3)).sum(2)


def gradients(module: PairRelation, objects: Tensor, output: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, output.numel()).view_as(output).double()
    return torch.autograd.grad(output, [objects, *module.parameters()], weights)


def test_a_python_loop_over_all_pairs_gives_the_same() -> None:
    module, (objects, code) = relation(), sets()
    g = plain(module)
    for row, question, found in zip(objects, code, module(objects, None, code), strict=True):
        total = sum(g(torch.cat([*pair, question])) for pair in itertools.product(row, repeat=2))
        torch.testing.assert_close(found.sum(0), total, rtol=0, atol=1e-12)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("widths", [(6,), (8, 6), WIDTHS])
def test_the_split_first_layer_equals_concatenation(widths: tuple[int, ...], checkpointing: bool) -> None:
    module, (objects, code) = relation(widths, checkpointing=checkpointing), sets()
    ours, theirs = module(objects, None, code), concatenated(module, objects, code)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for mine, other in zip(gradients(module, objects, ours), gradients(module, objects, theirs), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch, checkpointing: bool) -> None:
    module, (objects, code) = relation(checkpointing=checkpointing), sets(batch=7)
    whole = gradients(module, objects, module(objects, None, code))
    monkeypatch.setattr(pairs, "CPU_BLOCK_PAIRS", 40)  # two sets of 4 objects, and a rest of one
    for mine, other in zip(gradients(module, objects, module(objects, None, code)), whole, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_absent_object_is_as_good_as_none(checkpointing: bool) -> None:
    module, (objects, code) = relation(checkpointing=checkpointing), sets(batch=5)
    present = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]]).bool()
    output = module(objects, present, code)
    found = gradients(module, objects, output)
    assert (output[~present] == 0).all()
    assert (found[0][~present] == 0).all()
    removed = [
        concatenated(module, objects[item, present[item]][None], code[[item]])
        for item in range(5)
        if present[item].any()
    ]
    torch.testing.assert_close(output[present], torch.cat([sums[0] for sums in removed]), rtol=0, atol=1e-12)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output).double()
    loss = sum((sums[0] * weights[item, present[item]]).sum() for item, sums in zip((0, 1, 3, 4), removed, strict=True))
    assert isinstance(loss, Tensor)
    for mine, other in zip(found, torch.autograd.grad(loss, [objects, *module.parameters()]), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def test_all_present_equals_no_mask() -> None:
    module, (objects, code) = relation(), sets()
    everywhere = torch.ones(objects.shape[:2], dtype=torch.bool)
    torch.testing.assert_close(module(objects, everywhere, code), module(objects, None, code))


def test_sums_follow_their_objects() -> None:
    module, (objects, code) = relation(), sets()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(module(objects[:, order], None, code), module(objects, None, code)[:, order])


def test_it_keeps_less_than_half_of_what_the_plain_form_keeps() -> None:
    torch.manual_seed(0)
    module = PairRelation(26, 128, (64, 64, 64, 64))
    objects, code = torch.randn(2, 32, 26, requires_grad=True), torch.randn(2, 128)
    kept = {}
    forms = {"ours": lambda: module(objects, None, code), "plain": lambda: concatenated(module, objects, code)}
    for name, forward in forms.items():
        storages: dict[int, int] = {}

        def remember(tensor: Tensor, storages: dict[int, int] = storages) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            forward()
        kept[name] = sum(storages.values())
    assert kept["ours"] < kept["plain"] / 2


def test_bfloat16_is_close() -> None:
    torch.manual_seed(0)
    module, objects, code = PairRelation(OBJECT, CODE, WIDTHS), torch.randn(3, 4, OBJECT), torch.randn(3, CODE)
    with torch.autocast("cpu", torch.bfloat16):
        output = module(objects, None, code)
    output.float().sum().backward()
    assert output.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in module.parameters())
    torch.testing.assert_close(output.float(), module(objects, None, code), rtol=0.05, atol=0.05)
