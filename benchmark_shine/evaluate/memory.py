"""How much memory a piece of work needs."""
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(work, device):
    """The most bytes of tensors that a piece of work holds at once.

    Beyond what there was before, and with what it returns.  On CUDA as the
    allocator counts them.  Elsewhere all tensors that torch's operators
    return, each from its making to its end: the same number in every run,
    but without what an operator itself needs for a moment.

    Returns
    -------
    result
        What work returned.
    n_bytes : int
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        return result, torch.cuda.max_memory_allocated(device) - before
    with _Held() as held:
        result = work()
    return result, held.most


class _Held(TorchDispatchMode):
    """Counts the storages that operators make, as long as they live."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self._known = {}

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        for storage in _storages((args, kwargs)):
            self._meet(storage, 0)
        result = operator(*args, **kwargs or {})
        for storage in _storages(result):
            self._meet(storage, storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    def _meet(self, storage, n_bytes):
        place = storage.data_ptr()
        if place in self._known:
            return

        def forget(reference):
            del self._known[place]
            self.now -= n_bytes

        self._known[place] = weakref.ref(storage, forget)
        self.now += n_bytes


def _storages(values):
    for value in tree_leaves(values):
        if isinstance(value, torch.Tensor):
            yield value.untyped_storage()
