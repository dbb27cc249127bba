"""A platform plugin for verl, which has none for the CPU: its interface, filled in for gloo."""

from contextlib import nullcontext
from types import SimpleNamespace

import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry


@PlatformRegistry.register(platform="cpu")
class CPUPlatform(PlatformBase):
    """The processor: one device, no memory of its own to count or to empty."""

    device_name = "cpu"
    vendor_name = "none"

    @property
    def device_module(self):
        return SimpleNamespace(
            current_device=self.current_device,
            device_count=self.device_count,
            empty_cache=self.empty_cache,
            get_device_name=lambda *_: "CPU",
            is_available=self.is_available,
            manual_seed=self.manual_seed,
            max_memory_allocated=lambda *_: 0,
            max_memory_reserved=lambda *_: 0,
            memory_allocated=lambda *_: 0,
            memory_reserved=lambda *_: 0,
            mem_get_info=lambda *_: (0, 0),
            set_device=self.set_device,
            synchronize=self.synchronize,
        )

    def is_available(self):
        return True

    def current_device(self):
        return "cpu"

    def device_count(self):
        return 1

    def set_device(self, device_index):
        pass

    def synchronize(self, device_index=None):
        pass

    def manual_seed(self, seed):
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings):
        pass

    def empty_cache(self):
        pass

    def get_device_capability(self, device_index=0):
        return None, None

    def communication_backend_name(self):
        return "gloo"

    def visible_devices_envvar(self):
        return "NO_DEVICES"

    def nvtx_range(self, msg):
        return nullcontext()

    def profiler_start(self):
        pass

    def profiler_stop(self):
        pass

    def ray_resource_name(self):
        return "CPU"

    def ray_noset_envvars(self):
        return []

    def is_ipc_supported(self):
        return False

    def cudart(self):
        return None
