"""CUDA graphs on a CPU: kernels are recorded, and replayed on the very same tensors without Python.

As on a GPU, nothing that is captured runs, what Python counts or decides is frozen, what a kernel
wrote stands where the captured one wrote, and asking the device for a value is an error.
"""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from entropy_mech.sampling import torch_sampler

aten = torch.ops.aten
_WAITING = (aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default)


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _place(tensor):
    return tensor.untyped_storage().data_ptr()


class Graph(TorchDispatchMode):
    """What ``torch.cuda.CUDAGraph`` is, while it is on the stack of modes and after."""

    def __init__(self):
        super().__init__()
        self.kernels, self.replays, self._before = [], 0, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in _WAITING:
            raise RuntimeError("operation not permitted when stream is capturing")
        inputs = _tensors((args, kwargs))
        changes = function._schema.is_mutable
        if changes:
            self._before.setdefault(id(args[0]), (args[0], args[0].clone()))
        out = function(*args, **kwargs)
        view = not changes and {_place(t) for t in _tensors(out)} & {_place(t) for t in inputs}
        if not view:
            self.kernels.append((function, args, kwargs, None if changes else out))
        return out

    def undo(self):
        """Take back what ran: of a real capture nothing does."""
        for tensor, before in self._before.values():
            tensor.copy_(before)
        for *_, out in self.kernels:
            for tensor in _tensors(out):
                if tensor.is_floating_point():
                    tensor.fill_(torch.nan)

    def replay(self):
        self.replays += 1
        for function, args, kwargs, out in self.kernels:
            new = function(*args, **kwargs)
            for there, value in zip(_tensors(out), _tensors(new), strict=False):
                there.copy_(value)


@contextmanager
def pretend_graphs(monkeypatch):
    """Let the decoder capture on the CPU; yield the graphs, in the order of their captures."""
    graphs = []

    @contextmanager
    def capture(graph, *, stream, capture_error_mode):
        graphs.append(graph)
        with graph:
            yield
        graph.undo()

    stream = SimpleNamespace(device=torch.device("cpu"), wait_stream=lambda other: None)
    with monkeypatch.context() as patch:
        patch.setattr(torch_sampler, "_has_graphs", lambda device: True)
        patch.setattr(torch_sampler, "_side_stream", lambda device: stream)
        patch.setattr(torch.cuda, "current_stream", lambda device: stream)
        patch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        patch.setattr(torch.cuda, "CUDAGraph", Graph)
        patch.setattr(torch.cuda, "graph", capture)
        yield graphs
