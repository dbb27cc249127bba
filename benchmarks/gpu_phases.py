"""Speed, model FLOP utilisation and memory of training, phase by phase, on one GPU or a CPU.

    python benchmarks/gpu_phases.py [--peer trl] [--peak-tflops 989] [--rounds 3]

On a GPU it trains a model of Qwen2.5-0.5B's shape from random weights, in bfloat16, for a few
rounds; without one, a small model on the CPU, and says so. It needs neither data nor a hub:
prompts are random tokens, and the reward is the last token's parity. Every case (engine, sampler,
dtype, gradient checkpointing; the head alone; TRL) is a process of its own, so that each starts
with an empty GPU and one that fails leaves the rest. DeepSpeed, vLLM and TRL are measured where
they can be imported. Appends a dated section to benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import torch
from gpu_meter import resets_peaks
from gpu_report import report
from gpu_work import SHAPES, SIZES, peak_flops, save_model

RESULTS = Path(__file__).with_name("RESULTS.md")
DEFAULTS = {"kind": "ours", "engine": "torch", "sampler": "torch", "checkpointing": False}


def cases(peer: str | None, dtypes: list[str]) -> list[dict]:
    """Return what can be measured here, and say what cannot."""
    known = {name: importlib.util.find_spec(name) is not None for name in ("deepspeed", "vllm")}
    for name in [name for name, there in known.items() if not there]:
        print(f"{name} is not installed: not measured", file=sys.stderr)
    found = []
    for dtype in dtypes:
        trained = [{}, {"checkpointing": True}]
        if known["deepspeed"]:
            trained += [{"engine": "deepspeed"}, {"engine": "deepspeed", "checkpointing": True}]
        if known["vllm"]:
            trained += [{"sampler": "vllm"}]
        found += [DEFAULTS | {"dtype": dtype} | part for part in trained]
        found.append(DEFAULTS | {"dtype": dtype, "kind": "head"})
        if peer:
            found += [DEFAULTS | {"dtype": dtype, "kind": "trl", "peer": peer} | part
                      for part in ({}, {"checkpointing": True})]  # fmt: skip
    return [case | {"name": _name(case)} for case in found]


def chosen(found: list[dict], names: list[str] | None) -> list[dict]:
    """Return the cases of these names; all where none are given."""
    known = {case["name"]: case for case in found}
    for name in names or []:
        if name not in known:
            sys.exit(f"--cases = {name}: there are " + "; ".join(known))
    return [known[name] for name in names or known]


def _name(case: dict) -> str:
    if case["kind"] == "head":
        return f"head, {case['dtype']}"
    words = ["TRL" if case["kind"] == "trl" else case["engine"], case["dtype"]]
    words += ["checkpointing"] if case["checkpointing"] else []
    words += ["vLLM samples"] if case["sampler"] == "vllm" else []
    return ", ".join(words)


def child(case: dict) -> None:
    """Measure one case in this process."""
    torch.set_num_threads(case["threads"])
    if case["kind"] == "trl":
        from gpu_trl import run_trl as run
    elif case["kind"] == "device":
        run = device_facts
    elif case["kind"] == "head":
        from gpu_ours import run_head as run
    else:
        from gpu_ours import run_case as run
    Path(case["answer"]).write_text(json.dumps(run(case)))


def measured(case: dict, timeout_s: float) -> dict:
    """Measure a case in a process of its own; a failure is a result too."""
    print(f"{case['name']} ...", file=sys.stderr, flush=True)
    environment = os.environ | _alone() if case["engine"] == "deepspeed" else dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        asked = json.dumps(case | {"answer": str(answer)})
        command = [sys.executable, __file__, "--case", asked]
        try:
            done = subprocess.run(
                command, env=environment, text=True, capture_output=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            return {"case": case, "error": f"took longer than {timeout_s:g} s"}
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            return {"case": case, "error": lines[-1]}
        return {"case": case, **json.loads(answer.read_text())}


def _alone() -> dict[str, str]:
    """Return what a launcher of one process would put into the environment."""
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": port}
    return {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}


def facts(options, peaks: dict) -> list[str]:
    """Return what was measured, and how, in sentences."""
    import transformers

    sizes, shape = SIZES[options.size], SHAPES[options.size]
    percent = "; ".join(
        f"{value / 1e12:,.3g} TFLOP/s ({source})"
        for value, source in dict.fromkeys(map(tuple, peaks.values()))
    )
    memory, load = "what torch allocated", ""
    if not torch.cuda.is_available():
        memory = "the process's resident memory" + ("" if resets_peaks() else " since its start")
        load = f" The machine's load at the end was {os.getloadavg()[0]:.0f}."
    return [
        f"{shape.parameters:,} parameters of random weights ({shape.layers} layers, hidden "
        f"{shape.hidden}, {shape.vocabulary:,} words, tied: {shape.tied}); {sizes.prompts} prompts "
        f"of {sizes.prompt_tokens} tokens x {sizes.responses} responses of at most "
        f"{sizes.response_tokens}, {sizes.updates} optimizer steps a rollout, "
        f"{sizes.micro_batch} sequences a micro-batch; one warm-up round and {options.rounds} "
        f"measured, medians; torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {options.threads} CPU threads.{load}",
        "",
        "Tokens are prompt and response, of sampling and the head the response alone. MFU is model "
        "FLOPs over 100 % = " + percent + ". Model FLOPs: 2 N a token forward (head at response "
        "tokens alone) plus attention, 2 layers L^2 heads x head size a sequence; a backward pass "
        "is two forward ones, so 6 N in all; what checkpointing or the head recomputes is not "
        f"counted, nor is padding. Peak GiB is {memory}, in the phase, with weights and "
        "optimizer; GPU GiB what the device holds after it, by all libraries. A rollout is sampled "
        "once and updated from by each loss; `measure` are the old log-probabilities. The torch "
        "engine keeps float32 weights, and its torch sampler decodes in them whatever the dtype "
        "of the passes.",
    ]  # fmt: skip


def device_facts(case: dict) -> dict:
    """Return the device in words, and what 100 % MFU is for each dtype, with its source."""
    from entropy_mech.runs.store import environment

    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        words = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    else:
        found = environment()
        words = f"{found['processor']}, {found['cores']} cores, no GPU"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    first = peak_flops(device, case["dtypes"][0], case["peak_tflops"])
    peaks = dict.fromkeys(case["dtypes"], first)
    if torch.cuda.is_available():  # on a CPU there is one measure for all
        peaks = {dtype: peak_flops(device, dtype, case["peak_tflops"]) for dtype in peaks}
    return {"hardware": words, "peaks": peaks}


def main() -> int | str:
    """Measure every case that this machine can; return the exit code, or what went wrong."""
    gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="0.5b" if gpu else "small")
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16"],
                        default=["bfloat16"] if gpu else ["float32"])  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="after the one that warms up")
    parser.add_argument("--peer", choices=["trl"], help="measure it too, where it is installed")
    parser.add_argument("--peak-tflops", type=float, help="of the device, for MFU")
    parser.add_argument("--threads", type=int, default=min(os.cpu_count() or 1, 16))
    parser.add_argument("--timeout-s", type=float, default=900.0, help="for each case")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to append to")
    parser.add_argument("--print-only", action="store_true", help="write no file")
    parser.add_argument("--cases", nargs="+", help="only these, by their names in the table")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        child(json.loads(options.case))
        return 0
    if not gpu:
        print("no GPU: a small model on the CPU; its numbers say nothing of a GPU", file=sys.stderr)
    peer = options.peer
    if peer and importlib.util.find_spec(peer) is None:
        print(f"{peer} is not installed: not measured", file=sys.stderr)
        peer = None
    every = {"threads": options.threads, "rounds": options.rounds, "size": options.size}
    # In a process of its own too: this one never touches the GPU, so that it is empty for each.
    asked = {"kind": "device", "name": "device", "engine": "", "dtypes": options.dtypes}
    device = measured(asked | every | {"peak_tflops": options.peak_tflops}, options.timeout_s)
    if "error" in device:
        return device["error"]
    with tempfile.TemporaryDirectory() as temporary:
        save_model(Path(temporary) / "model", SHAPES[options.size])
        every["folder"] = f"{temporary}/model"
        results = [
            measured(case | every, options.timeout_s)
            for case in chosen(cases(peer, options.dtypes), options.cases)
        ]
    kind = f"{options.size} size" if gpu else f"CPU, {options.size} size"
    heading = f"## GPU check, {datetime.now(UTC):%Y-%m-%d}: {kind}, {device['hardware']}"
    peaks = device["peaks"]
    text = report(heading, facts(options, peaks), results, peaks)
    print(text)
    if not options.print_only:
        with options.results.open("a") as file:
            file.write("\n" + text)
    return 1 if any("error" in result for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
