"""The Markdown that ``gpu_phases`` writes."""

from __future__ import annotations

from gpu_meter import GIB

HEAD = "| case | phase | tokens | s (least to most) | tokens/s | MFU | peak GiB | GPU GiB |"
LIKE = ("engine", "dtype", "checkpointing", "sampler")  # what a peer's case must share with ours


def report(heading: str, facts: list[str], results: list[dict], peaks: dict[str, tuple]) -> str:
    """Return a section: what was run, a row a phase, ratios to the peer, what failed."""
    lines = [heading, "", *facts, "", HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"]
    failed = []
    for result in results:
        case = result["case"]
        if "error" in result:
            failed.append(f"- **{case['name']} failed**: {result['error']}")
            continue
        lines += [_row(case, row, peaks[case["dtype"]][0]) for row in result["rows"]]
    lines += _checks(results)
    return "\n".join([*lines, *_ratios(results), *([""] if failed else []), *failed, ""])


def _checks(results: list[dict]) -> list[str]:
    """Return what shows that each case did its work: gaps, touched tokens, gradients."""
    lines = []
    for result in results:
        last = result.get("last")
        if not last:
            continue
        touched = ", ".join(f"{name} {count:,}" for name, count in last["touched"].items())
        lines.append(
            f"- {result['case']['name']}: sampler and trainer differ by {last['gap_mean']:.1e} "
            f"nats a token (largest {last['gap_max']:.1e}); last updates touched {touched} tokens, "
            f"gradient norm {last['grad_norm']:.2g}"
        )
    return ["", *lines] if lines else []


def _row(case: dict, row: dict, peak_flops: float) -> str:
    seconds = row["seconds"]
    spread = f"{row['seconds_least']:.3g} to {row['seconds_most']:.3g}"
    counted = row["tokens"] > 0
    cells = [
        case["name"],
        row["phase"],
        f"{row['tokens']:,.0f}" if counted else "",
        f"{seconds:.3g} ({spread})",
        f"{row['tokens'] / seconds:,.0f}" if counted else "",
        f"{row['flops'] / seconds / peak_flops:.1%}" if counted else "",
        f"{row['peak_bytes'] / GIB:.2f}",
        f"{row['device_bytes'] / GIB:.2f}" if row["device_bytes"] else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _ratios(results: list[dict]) -> list[str]:
    """Return the peer's seconds a token over ours, phase by phase, for like settings."""
    whole = [result for result in results if "rows" in result]
    lines = []
    for peer in (result for result in whole if result["case"].get("peer")):
        for ours in (result for result in whole if result["case"]["kind"] == "ours"):
            if any(ours["case"][key] != peer["case"][key] for key in LIKE):
                continue
            mine, theirs = _seconds_a_token(ours), _seconds_a_token(peer)
            parts = [f"{name} {s / mine[name]:.2f}" for name, s in theirs.items() if name in mine]
            lines.append(
                f"\nSeconds a token of {peer['case']['name']} over those of "
                f"{ours['case']['name']}: {', '.join(parts)}."
            )
    return lines


def _seconds_a_token(result: dict) -> dict[str, float]:
    return {r["phase"]: r["seconds"] / r["tokens"] for r in result["rows"] if r["tokens"]}
