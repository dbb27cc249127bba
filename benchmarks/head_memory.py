"""Memory and time of the language-model head: tiles against the naive form and verl's fused head.

    python benchmarks/head_memory.py [--entropy-gradient] [--frozen-head] [--repetitions 5]

Log-probability and entropy from hidden states, and the backward pass, at Qwen2.5-0.5B's sizes. The
peak is that of a child process each, above what it held with its inputs and before its first
product (resident memory; on a GPU, allocated memory). Times alternate in one process, after a
first round that compares values and gradients; a ratio is the median of the rounds' own ratios, so
that other work on the machine falls on both sides. verl is a peer where it can be imported.
On a busy machine set OMP_WAIT_POLICY=passive: threads then do not spin while they wait.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from entropy_mech.objectives import logprobs_and_entropy


def naive(hidden, head, tokens, entropy_gradient):
    logits = (hidden @ head.T).float()
    logp_all = torch.log_softmax(logits, dim=-1)
    with torch.set_grad_enabled(entropy_gradient):
        entropy = -(logp_all.exp() * logp_all).sum(dim=-1)
    return logp_all.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropy


def tiles(hidden, head, tokens, entropy_gradient):
    return logprobs_and_entropy(hidden, head, tokens, entropy_gradient=entropy_gradient)


def verl(hidden, head, tokens, entropy_gradient):
    from verl.utils.experimental.torch_functional import FusedLinearForPPOFunction

    logp, entropy = FusedLinearForPPOFunction.apply(hidden, head, tokens)
    return logp, entropy if entropy_gradient else entropy.detach()


FORMS = {"naive": naive, "verl": verl, "tiles": tiles}


def inputs(options):
    torch.set_num_threads(options.threads)
    generator = torch.Generator(options.device).manual_seed(0)
    settings = {"generator": generator, "device": options.device}
    hidden = torch.randn(options.tokens, options.hidden, **settings)
    head = torch.randn(options.vocabulary, options.hidden, **settings).mul_(0.03)
    tokens = torch.randint(options.vocabulary, (options.tokens,), **settings)
    weights = torch.randn(2, options.tokens, **settings) / options.tokens
    if options.dtype != "float32":
        hidden, head = (tensor.to(getattr(torch, options.dtype)) for tensor in (hidden, head))
    return hidden.requires_grad_(), head.requires_grad_(not options.frozen_head), tokens, weights


def passes(form, data, entropy_gradient):
    """Both passes; returns the values, the seconds and the processor's seconds."""
    hidden, head, tokens, weights = data
    hidden.grad = head.grad = None
    settle(hidden)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    logp, entropy = form(hidden, head, tokens, entropy_gradient)
    loss = (weights[0] * logp).sum()
    if entropy_gradient:
        loss = loss + (weights[1] * entropy).sum()
    loss.backward()
    settle(hidden)
    took_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    return logp.detach(), entropy.detach(), took_s


def settle(tensor):
    if tensor.is_cuda:
        torch.cuda.synchronize()


def peak_bytes(device):
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # KiB on Linux


def child(options):
    """Print the peak of one form, above its inputs."""
    data = inputs(options)
    before = peak_bytes(options.device)
    passes(FORMS[options.child], data, options.entropy_gradient)
    print(json.dumps(peak_bytes(options.device) - before))


def peak_mb(form):
    command = [sys.executable, __file__, *sys.argv[1:], "--child", form]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1]) / 1e6


def differences(reference, values):
    """Largest difference of values and gradients, relative to the reference's largest."""
    return [
        f"{((a - b).abs().max() / b.abs().max()).item():.1e}"
        for a, b in zip(values, reference, strict=True)
    ]


def compare(forms, options):
    # Before this process grows: a child's record starts at the size of its parent.
    memory = {form: peak_mb(form) for form in forms}
    data = inputs(options)
    times, off, reference = {form: [] for form in forms}, {}, None
    for repetition in range(options.repetitions + 1):
        for form in forms:
            *values, took_s = passes(FORMS[form], data, options.entropy_gradient)
            if repetition:
                times[form].append(took_s)
                continue
            # The first round warms up, and compares.
            values += [t.grad for t in data[:2] if t.grad is not None]
            reference = reference or [value.clone() for value in values]
            off[form] = differences(reference, values)
        if repetition == 0:
            reference = values = None
    print("| form | peak MB | of naive | s | s over naive | CPU s | over naive | differs by |")
    print("|---|---|---|---|---|---|---|---|")
    for form in forms:
        share = memory[form] / memory["naive"]
        clocks = clock_cells(times[form], times["naive"])
        cells = [form, f"{memory[form]:,.0f}", f"{share:.1%}", *clocks, ", ".join(off[form])]
        print("|", " | ".join(cells), "|")


def clock_cells(ours, base):
    """Median, and ratio to the base with its range, by the wall clock and the processor's."""
    for mine, theirs in zip(zip(*ours, strict=True), zip(*base, strict=True), strict=True):
        ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
        yield f"{statistics.median(mine):.2f}"
        yield f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--hidden", type=int, default=896)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--frozen-head", action="store_true")
    parser.add_argument("--entropy-gradient", action="store_true")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--child", choices=FORMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    forms = list(dict.fromkeys(["naive", *options.forms]))
    if "verl" in forms and not importlib.util.find_spec("verl"):
        print("verl is not installed: not measured")
        forms.remove("verl")
    of = "log-probability" + (" and entropy" if options.entropy_gradient else "")
    by = "hidden states" + ("" if options.frozen_head else " and head")
    print(
        f"{options.tokens:,} tokens, {options.vocabulary:,} words, hidden {options.hidden}, "
        f"{options.dtype}, {options.device}, {options.threads} threads; gradient of {of} "
        f"by {by}; {options.repetitions} repetitions; torch {torch.__version__}\n"
    )
    return compare(forms, options)


if __name__ == "__main__":
    main()
