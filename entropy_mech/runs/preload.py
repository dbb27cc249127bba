"""What the fork server imports, once, so that no job has to."""

import atexit
import contextlib
import gc
from importlib import import_module

_MODULES = (
    "entropy_mech.train.loop",
    "entropy_mech.train.pretrain",
    "entropy_mech.evaluation.suite",
    "entropy_mech.reproduction.notebook",
)
# Lazy in transformers: naming them imports them.
_CLASSES = ("Qwen2ForCausalLM", "MistralForCausalLM", "LlamaForCausalLM", "AutoModelForCausalLM",
            "AutoTokenizer", "PreTrainedTokenizerFast")  # fmt: skip

for _name in _MODULES:
    # What cannot be imported is the failure of the job that needs it, which says so.
    with contextlib.suppress(Exception):
        import_module(_name)
with contextlib.suppress(Exception):
    for _name in _CLASSES:
        getattr(import_module("transformers"), _name)
gc.collect()
gc.freeze()  # so that the forks' collectors do not touch, and copy, what they share
atexit.register(gc.unfreeze)  # triton would report as leaked what its end cannot collect
