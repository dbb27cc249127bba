"""Is training on this GPU right, and how fast is it? One command, at most eight minutes.

    python benchmarks/gpu_check.py --out FOLDER [--sections head split ...] [--keep]

Seven sections, each a process of its own under a time limit: the head, micro-batch splits, ZeRO 1
to 3, the torch sampler, a run killed and resumed, an evaluation, and one update kernel by kernel.
On a GPU they have Qwen2.5-0.5B's shape with random weights; without one a small model, and the page
says so: its numbers then say nothing of a GPU. Needs neither data nor a hub, vLLM or datasets;
what needs DeepSpeed is left out where that is missing. Writes gpu_check.json and gpu_check.md into
the folder, section by section as they end; ``--keep`` adds the page to benchmarks/RESULTS-gpu.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = HERE / "RESULTS-gpu.md"
# Sections and their time limits, in seconds: eight minutes together.
LIMITS_S = {
    "head": 80, "split": 90, "zero": 90, "sampler": 60, "resume": 70, "evaluate": 45, "profile": 45
}  # fmt: skip
_PACKAGES = ("torch", "transformers", "deepspeed", "vllm")


def child(name: str, answer: Path) -> None:
    """Measure one section in this process."""
    import torch

    torch.set_num_threads(min(os.cpu_count() or 1, 8) if torch.cuda.is_available() else 1)
    from gpu_sections import SECTIONS, LeftOut
    from gpu_work import device_words

    try:
        found = SECTIONS[name]()
    except LeftOut as reason:
        found = {"left_out": str(reason)}
    answer.write_text(json.dumps({"device": device_words(), **found}))


def measured(name: str, limit_s: float) -> dict:
    """Measure a section in a process of its own; a failure is a result too."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        process = subprocess.Popen(
            [sys.executable, __file__, "--child", name, str(answer)],
            env=os.environ | _alone(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            _, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return {"error": f"took longer than {limit_s:g} s", "seconds": limit_s}
        taken = {"seconds": round(time.monotonic() - start, 1)}
        if process.returncode:
            lines = errors.strip().splitlines() or [f"exit code {process.returncode}"]
            return {"error": lines[-1], "trace": lines[-30:], **taken}
        return {**json.loads(answer.read_text()), **taken}


def _alone() -> dict[str, str]:
    """Return what a launcher of one process would put into the environment, and a PYTHONPATH."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}
    paths = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {name: str(value) for name, value in place.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


def page(found: dict[str, dict]) -> str:
    """Return the Markdown page of what was measured so far."""
    device = next((one["device"] for one in found.values() if "device" in one), "unknown device")
    versions = ", ".join(f"{name} {version}" for name, version in _versions().items())
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d}: {device}",
        "",
        f"Python {sys.version.split()[0]}, {versions}; "
        f"{sum(one['seconds'] for one in found.values()):.0f} s in all.",
    ]
    for name, one in found.items():
        lines += ["", f"### {name} ({one['seconds']:.0f} s)", ""]
        if "error" in one:
            lines.append(f"**failed**: {one['error']}")
        elif "left_out" in one:
            lines.append(f"left out: {one['left_out']}")
        else:
            facts = [f"- {key}: {_cell(value)}" for key, value in one["facts"].items()]
            lines += [*_table(one["rows"]), *([""] if facts else []), *facts]
    return "\n".join(lines) + "\n"


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _table(rows: list[dict]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return lines + [f"| {' | '.join(_cell(row.get(c)) for c in columns)} |" for row in rows]


def _cell(value) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return {None: "", True: "yes", False: "no"}.get(value, str(value))


def main() -> int:
    """Measure every section; return 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for gpu_check.json and gpu_check.md")
    parser.add_argument("--sections", nargs="+", choices=LIMITS_S, default=LIMITS_S)
    parser.add_argument("--keep", action="store_true", help=f"add the page to {KEPT.name}")
    parser.add_argument("--limit-factor", type=float, default=1.0, help="times the time limits")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return 0
    if options.out is None:
        parser.error("--out is missing: name a folder for the results")
    options.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict] = {}
    for name in options.sections:
        limit_s = LIMITS_S[name] * options.limit_factor
        print(f"{name}, at most {limit_s:.0f} s ...", flush=True)
        found[name] = measured(name, limit_s)
        print(f"  {found[name].get('error') or found[name].get('left_out') or 'done'}", flush=True)
        (options.out / "gpu_check.json").write_text(json.dumps(found, indent=1) + "\n")
        (options.out / "gpu_check.md").write_text(page(found))
    print(page(found))
    if options.keep:
        with KEPT.open("a") as file:
            file.write("\n" + page(found))
    return int(any("error" in one for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
