"""The policy over several processes with DeepSpeed's ZeRO. The one file that imports deepspeed."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import PreTrainedModel

from entropy_mech.config import EngineConfig, UpdateConfig
from entropy_mech.errors import UserError
from entropy_mech.train.distributed import Ranks
from entropy_mech.train.engine import Diverged, Engine

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or it says that it found no GPU
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages' old names
        import deepspeed
        from deepspeed.accelerator import get_accelerator, set_accelerator
        from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator
        from deepspeed.checkpoint import ds_to_universal
except ImportError as error:
    raise UserError(
        f"engine.kind = deepspeed: DeepSpeed cannot be imported ({error}); "
        "pip install 'entropy-mech[gpu]', or give engine.kind = \"torch\""
    ) from error

_TAG = "zero"
_UPDATES = "updates.txt"  # how many the optimizer has done
# For tensor-parallel inference on one host, compiled at the first start: minutes, a compiler, and
# a lock that a killed compilation leaves behind. Training does not use it.
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
# DeepSpeed calls what torch has renamed, at every exchange.
warnings.filterwarnings("ignore", message=r".*torch\.distributed\.", category=FutureWarning)
logging.getLogger("DeepSpeed").setLevel(os.environ.get("DEEPSPEED_LOG_LEVEL", "ERROR").upper())


class DeepSpeedEngine(Engine):
    """Owns the model, sharded by ZeRO, and its optimizer."""

    def __init__(
        self,
        model: PreTrainedModel,
        config: EngineConfig,
        update: UpdateConfig,
        ranks: Ranks,
        **settings: float,
    ):
        super().__init__(model, config, update, ranks, **settings)
        if ranks.device.type == "cpu" and get_accelerator().device_name() != "cpu":
            set_accelerator(CPU_Accelerator())  # a toy's, on a machine that has a GPU
        if ranks.size == 1:
            _join_alone(ranks.device)
        deepspeed.init_distributed(dist_init_required=False, verbose=False)
        self.module, *_ = deepspeed.initialize(
            model=self.policy,
            optimizer=self.optimizer,
            config=_settings(config, update, ranks.device),
        )
        self.device = torch.device(self.module.device)
        ranks.limit_waits()  # also in the groups that DeepSpeed made

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add a loss's gradient; the sum over ranks is formed at the last one."""
        self.module.set_gradient_accumulation_boundary(last)
        # ZeRO averages over the ranks, and here their gradients are parts of one sum.
        self.module.backward(loss * self.ranks.size)

    def step(self) -> float:
        """Clip the gradient, take one optimizer step, return the norm before clipping."""
        self.module.step()
        norm = float(self.module.get_global_grad_norm())
        if not torch.isfinite(torch.tensor(norm)):
            raise Diverged("gradient norm", norm, "the run goes on from its last checkpoint")
        return norm

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield whole weights by their Hugging Face names; under ZeRO-3 they are gathered."""
        sharded = self.config.zero_stage == 3
        for name, parameter in self.policy.model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
                yield name, parameter.detach()

    def save(self, folder: Path) -> None:
        """Write this rank's shards."""
        # With this entry, shards can be converted for another number of ranks.
        state = {"universal_checkpoint_info": {"universal_checkpoint_version": 0.2}}
        self.module.save_checkpoint(str(folder), tag=_TAG, client_state=state, save_latest=False)
        if self.ranks.first:
            (folder / _UPDATES).write_text(f"{self.module.global_steps}\n")

    def load(self, folder: Path) -> None:
        """Load a state written by ``save``: bit for bit by as many ranks, else converted."""
        ranks_that_wrote = len(list((folder / _TAG).glob("*_optim_states.pt")))
        if ranks_that_wrote == self.ranks.size:
            self.module.load_checkpoint(str(folder), tag=_TAG)
            return
        # Before its first update an optimizer has no state that could be converted, and the
        # weights are those that the run started from.
        if int((folder / _UPDATES).read_text()) == 0:
            return
        cut = folder.parent.parent / f"tmp-recut-{folder.parent.name}-{folder.name}"
        if self.ranks.first:
            _cut_anew(folder / _TAG, cut / _TAG)
        self.ranks.meet("the cutting of a checkpoint for another number of ranks")
        self.module._config.load_universal_checkpoint = True
        self.module.load_checkpoint(str(cut), tag=_TAG)
        self.module._config.load_universal_checkpoint = False
        self.ranks.meet("the loading of a checkpoint")
        if self.ranks.first:
            shutil.rmtree(cut)


def _join_alone(device: torch.device) -> None:
    """Make the process group of one that DeepSpeed needs: no launcher and no port for it."""
    os.environ.setdefault("LOCAL_RANK", "0")
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)


def _cut_anew(folder: Path, out: Path) -> None:
    """Convert the shards of any number of ranks to whole parameters, DeepSpeed's own way."""
    shutil.rmtree(out, ignore_errors=True)
    settings = argparse.Namespace(
        input_folder=str(folder),
        output_folder=str(out),
        num_extract_workers=1,
        num_merge_workers=1,
        keep_temp_folder=False,
        strict=True,
        inject_missing_state=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):  # says what it does at length
        ds_to_universal.main(settings)


def _settings(config: EngineConfig, update: UpdateConfig, device: torch.device) -> dict[str, Any]:
    on_gpu = device.type == "cuda"
    host = {"device": "cpu", "pin_memory": on_gpu}
    settings = {
        # Micro-batches are cut by the trainer, which marks the last of each step itself.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": update.max_grad_norm,
        "zero_optimization": {
            "stage": config.zero_stage,
            "overlap_comm": on_gpu,
            "contiguous_gradients": True,
            **({"offload_optimizer": host} if config.offload_optimizer else {}),
            **({"offload_param": host} if config.offload_weights else {}),
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": config.dtype == "bfloat16"},
    }
    if config.zero_stage:  # without ZeRO DeepSpeed cannot
        # A sum in bfloat16 loses more of the gradient with every micro-batch and rank.
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
        settings["communication_data_type"] = "fp32"
    return settings
