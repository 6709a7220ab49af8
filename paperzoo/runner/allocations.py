"""How many bytes of tensors live at the same time while something is computed."""

import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Counts, while it is entered, the bytes of tensors that are made and still live; views and inputs count nothing.

    Gradients that have arrived in `Parameter.grad` of the `parameters` count no more: they are as many bytes whatever
    the batch. What an operation needs inside itself is not seen.

    Attributes:
        peak: the most bytes at any time since it was entered.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: dict[int, weakref.finalize] = {}
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._hooks: list[Any] = []

    def __enter__(self) -> "Allocations":
        # backward passes run in threads of their own on accelerators, where no mode is on
        self._was_threaded = torch.autograd.is_multithreading_enabled()
        torch._C._set_multithreading_enabled(False)
        self._hooks = [p.register_post_accumulate_grad_hook(self._arrived) for p in self._parameters]
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        torch._C._set_multithreading_enabled(self._was_threaded)
        for hook in self._hooks:
            hook.remove()
        for known in list(self._known.values()):
            known.detach()
        self._known.clear()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in map(_storage, tree_leaves((args, kwargs))) if storage is not None}
        for leaf in tree_leaves(result):
            storage = _storage(leaf)
            if storage is not None and storage._cdata not in given and storage._cdata not in self._known:
                self._note(storage)
        self.peak = max(self.peak, self._live)
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        self._live += size
        self._known[address] = weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        if self._known.pop(address, None) is not None:
            self._live -= size

    def _arrived(self, parameter: Tensor) -> None:
        storage = None if parameter.grad is None else _storage(parameter.grad)
        if storage is not None and (known := self._known.get(storage._cdata)) is not None:
            known.detach()
            self._forget(storage._cdata, storage.nbytes())


def _storage(leaf: Any) -> torch.UntypedStorage | None:
    if not isinstance(leaf, Tensor) or leaf.layout is not torch.strided:
        return None
    return leaf.untyped_storage()
