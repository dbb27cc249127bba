"""What the objectives cost, beside PPO clip and beside verl's own functions, in one run.

    python benchmarks/verl_cost.py functions --tokens 1048576 --threads 1
    python benchmarks/verl_cost.py update --tokens 1048576 --threads 2

``functions`` times forward and backward of the bare functions, in turn, round by round. ``update``
times one whole policy update (model forward and backward over all micro-batches, optimizer step),
with every objective run on the same log-probabilities of the same micro-batches: each one's share
of the same update is then exact, where two updates timed apart would differ by more. Times are
the process's CPU seconds: on a shared machine the clock on the wall measures the neighbours. Needs
verl, as ``verl_equality`` does.
"""

import argparse
import statistics
import time
import warnings
from importlib.metadata import version

import torch
from verl_equality import random_batch, verl_config, verl_loss

from entropy_mech import objectives as em

# The paper's settings for 7B.
CLIP_COV = {"clip_fraction": 2e-4, "cov_low": 1.0, "cov_high": 5.0}
KL_COV = {"penalty_fraction": 2e-3}
PPO, CLIP, KL = verl_config(), verl_config((1.0, 1.0)), verl_config(fraction=2e-3)
FUNCTIONS = {
    "ppo_clip": lambda batch: em.ppo_clip_loss(*batch).loss,
    "clip_cov": lambda batch: em.clip_cov_loss(*batch, **CLIP_COV).loss,
    "kl_cov": lambda batch: em.kl_cov_loss(*batch, **KL_COV).loss,
    "verl vanilla": lambda batch: verl_loss("vanilla", batch, PPO),
    "verl clip_cov": lambda batch: verl_loss("clip_cov", batch, CLIP),
    "verl kl_cov": lambda batch: verl_loss("kl_cov", batch, KL),
}
# Tokens chosen once for the whole update, as under covariance_scope = rollout_batch.
CHOSEN_ONCE = {
    "clip_cov, chosen once": (em.select_in_band, CLIP_COV, em.clip_cov_loss),
    "kl_cov, chosen once": (em.select_largest, KL_COV, em.kl_cov_loss),
}


def seconds(call, *args):
    start = time.process_time()
    result = call(*args)
    return time.process_time() - start, result


def forward_and_backward(loss, batch):
    batch[0].grad = None
    loss(batch).backward()


def functions(tokens, rounds):
    for ragged in (False, True):
        batch = random_batch(tokens // 4096, 4096, 0, ragged=ragged)
        times = {name: [] for name in FUNCTIONS}
        for number in range(rounds + 1):
            for name, loss in FUNCTIONS.items():
                spent, _ = seconds(forward_and_backward, loss, batch)
                if number:  # the first round warms up
                    times[name].append(spent)
        print(f"\n{int(batch[3].sum())} response tokens in {batch[3].numel()} places\n")
        print("| function | median CPU ms | least CPU ms | over ppo_clip, median of the rounds |")
        print("|---|---|---|---|")
        for name, values in times.items():
            pairs = zip(values, times["ppo_clip"], strict=True)
            ratio = statistics.median(mine / base for mine, base in pairs)
            middle = 1e3 * statistics.median(values)
            print(f"| {name} | {middle:.1f} | {1e3 * min(values):.1f} | {ratio:.2f} |")


def update(tokens, columns=128, rows=256):
    """One update of a model of the toy's class and size, over ``tokens`` response tokens."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 256}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=32, **shape, **heads))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    ids = torch.randint(32, (tokens // columns, columns + 1))
    _, logp_old, advantages, mask = random_batch(len(ids), columns, 1, ragged=False)

    spent = dict.fromkeys([*FUNCTIONS, *CHOSEN_ONCE], 0.0)
    chosen = {}
    for name, (select, settings, _) in CHOSEN_ONCE.items():
        first, covariance = seconds(em.token_covariance, logp_old, advantages, mask)
        second, chosen[name] = seconds(lambda s=select, c=covariance, k=settings: s(c, mask, **k))
        spent[name] = first + second

    def logprobs(part):
        hidden = model.model(ids[part, :-1]).last_hidden_state.flatten(0, 1)
        logp, _ = em.logprobs_and_entropy(hidden, model.lm_head.weight, ids[part, 1:].flatten())
        return logp.view(len(part), columns)

    of_model = 0.0
    for part in torch.arange(len(ids)).split(rows):
        forward, logp = seconds(logprobs, part)
        batch = logp.detach().requires_grad_(), logp_old[part], advantages[part], mask[part]
        calls = dict(FUNCTIONS)
        for name, (_, _, loss) in CHOSEN_ONCE.items():
            fixed = {"selected_mask": chosen[name][part], "token_count": tokens}
            calls[name] = lambda b, loss=loss, fixed=fixed: loss(*b, **fixed).loss
        for name, loss in calls.items():
            spent[name] += seconds(forward_and_backward, loss, batch)[0]
        backward, _ = seconds(logp.backward, batch[0].grad)
        of_model += forward + backward
    of_model += seconds(optimizer.step)[0]

    whole = of_model + spent["ppo_clip"]
    parameters = sum(p.numel() for p in model.parameters())
    print(f"\n{tokens} tokens in micro-batches of {rows} x {columns}, {parameters} parameters:")
    print(f"{of_model:.1f} CPU s without the loss, {whole:.1f} s with ppo_clip\n")
    print("| objective | CPU s an update | the update beside that with ppo_clip |\n|---|---|---|")
    for name, value in spent.items():
        print(f"| {name} | {value:.3f} | {100 * (value - spent['ppo_clip']) / whole:+.2f} % |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["functions", "update"])
    parser.add_argument("--tokens", type=int, default=2**20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore", em.InertPenaltyWarning)
    print(f"verl {version('verl')}, torch {torch.__version__}, {args.threads} thread(s)")
    if args.what == "functions":
        functions(args.tokens, args.rounds)
    else:
        update(args.tokens)


if __name__ == "__main__":
    main()
