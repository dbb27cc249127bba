"""A pretend GPU: tensors that say they are on another device and hold their values on the CPU.

The device is called ``meta``, the one besides the CPU that every build of torch knows.
An operation that mixes them with tensors of the host raises, as on a GPU; one that would make the
host wait for the device is counted, by the line of this package that asked for it. Values are
computed by the CPU's own kernels, so results can be compared with a run on the CPU.
"""

import traceback
from collections import Counter
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
# The host learns a value or a size of what the device computes.
_WAITING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.repeat_interleave.Tensor,
}


class MixedDevicesError(RuntimeError):
    """What a GPU would refuse: "expected all tensors to be on the same device"."""


class OnGPU(torch.Tensor):
    """A tensor of the pretend device, around one of the CPU."""

    @staticmethod
    def __new__(cls, held, requires_grad=False):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
            requires_grad=requires_grad,
        )

    def __init__(self, held, requires_grad=False):
        self.held = held

    def __repr__(self, *, tensor_contents=None):
        return f"OnGPU({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class Syncs(Counter):
    """How often the host waited for the device, by file and line of the package."""

    def note(self, what):
        """Count one, at the innermost line of the package."""
        frames = (f for f in reversed(traceback.extract_stack()) if "entropy_mech/" in f.filename)
        frame = next(frames, None)
        where = f"{frame.filename.split('entropy_mech/')[-1]}: {frame.line}" if frame else "a test"
        self[f"{what} at {where}"] += 1


_SYNCS = Syncs()


def _is_bool(index):
    return isinstance(index, OnGPU) and index.dtype in (torch.bool, torch.uint8)


def _check(function, args, devices, hosts):
    """Raise where a GPU would: on host tensors that are more than one number."""
    strangers = [tensor for tensor in hosts if tensor.dim()]
    if function in _INDEXING:
        # A host index is copied over; the indexed tensor and the values are not.
        strangers = [t for t in (args[0], *args[2:3]) if isinstance(t, torch.Tensor) and t.dim()]
        strangers = [t for t in strangers if isinstance(t, OnGPU) != isinstance(args[0], OnGPU)]
        if not isinstance(args[0], OnGPU):
            strangers += devices
    if strangers:
        shapes = [tuple(tensor.shape) for tensor in strangers]
        raise MixedDevicesError(f"{function}: tensors of the host, {shapes}, meet the device's")


def _matmul_to_float32(left, right):
    """``mm(..., out_dtype=float32)``: CUDA alone has it, and it rounds no sum."""
    return torch.mm(left.float(), right.float())


def _run(function, args, kwargs):
    leaves = tree_leaves((args, kwargs))
    devices = [leaf for leaf in leaves if isinstance(leaf, OnGPU)]
    hosts = [x for x in leaves if isinstance(x, torch.Tensor) and not isinstance(x, OnGPU)]
    target, on_device = kwargs.get("device"), bool(devices)
    if target is not None:
        on_device = torch.device(target).type == DEVICE.type
        kwargs = {**kwargs, "device": "cpu"}
    elif function is aten.copy_.default or function is aten._to_copy.default:
        on_device = isinstance(args[0], OnGPU)
    copies = function in (aten.copy_.default, aten._to_copy.default)
    if copies:
        down = isinstance(args[-1], OnGPU) and not on_device
        down |= function is aten._to_copy.default and bool(devices) and not on_device
        if down:
            _SYNCS.note("copy to the host")
    elif devices and hosts:
        _check(function, args, devices, hosts)
    if devices and function in _WAITING:
        _SYNCS.note(function.overloadpacket.__name__)
    if function in _INDEXING and any(map(_is_bool, args[1])):
        _SYNCS.note("index by a mask")
    bare_args, bare_kwargs = tree_map(_held, args), tree_map(_held, kwargs)
    if function in (aten.mm.dtype, aten.mm.dtype_out):
        out = _matmul_to_float32(*bare_args[:2])
        if function is aten.mm.dtype_out:
            bare_kwargs["out"].copy_(out)
            return kwargs["out"]
    else:
        out = function(*bare_args, **bare_kwargs)
    if not on_device:
        return out
    return return_and_correct_aliasing(function, args, kwargs, tree_map(_wrapped, out))


def _held(value):
    return value.held if isinstance(value, OnGPU) else value


def _wrapped(value):
    plain = isinstance(value, torch.Tensor) and not isinstance(value, OnGPU)
    return OnGPU(value) if plain else value


class _Factories(TorchDispatchMode):
    """Catches what is made on the device, or moved there from the host."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        held = any(isinstance(leaf, OnGPU) for leaf in tree_leaves((args, kwargs)))
        device = kwargs.get("device")
        if held or (device is not None and torch.device(device).type == DEVICE.type):
            return _run(function, args, kwargs)
        return function(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Catches what never reaches the dispatcher."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if function in (torch.tensor, torch.as_tensor) and device is not None:
            return function(*args, **{**kwargs, "device": "cpu"}).to(device)
        if function is torch.Tensor.numpy and isinstance(args[0], OnGPU):
            raise MixedDevicesError("numpy() of a tensor on the device")
        if function is torch.Tensor.pin_memory:
            return args[0]  # the host's, as before
        if function is torch.Tensor.tolist and isinstance(args[0], OnGPU):
            return args[0].cpu().tolist()
        return function(*args, **kwargs)


@contextmanager
def pretend_gpu():
    """Let ``meta`` be the pretend device; yield the count of waits."""
    _SYNCS.clear()
    known = torch.is_autocast_enabled
    with ExitStack() as stack:
        patch = mock.patch.object(torch, "is_autocast_enabled")
        stack.enter_context(patch).side_effect = lambda kind: kind != "meta" and known(kind)
        patch = mock.patch.object(_foreach_utils, "_get_foreach_kernels_supported_devices")
        stack.enter_context(patch).return_value = ["meta"]
        stack.enter_context(_Calls())
        stack.enter_context(_Factories())
        yield _SYNCS


def moved(model):
    """Move a model's weights to the pretend device, tied ones together; return the model."""
    seen = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None and id(weight) not in seen:
                seen[id(weight)] = torch.nn.Parameter(OnGPU(weight.detach().clone()))
            module._parameters[name] = None if weight is None else seen[id(weight)]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else OnGPU(buffer.clone())
    return model
