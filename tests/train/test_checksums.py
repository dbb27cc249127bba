"""The checksums of a checkpoint are computed by all ranks, each of its share, and checked so."""

import hashlib
import threading
from collections import Counter
from pathlib import Path

import pytest

from entropy_mech.train import checkpoint
from entropy_mech.train.checkpoint import latest_checkpoint, save_checkpoint
from entropy_mech.train.distributed import Ranks


class Threads(Ranks):
    """Ranks that are threads of one process."""

    def __init__(self, rank, size, shared):
        super().__init__()
        self.rank, self.size, self.shared = rank, size, shared

    def gather(self, value):
        self.shared["box"][self.rank] = value
        self.shared["barrier"].wait(timeout=60)
        values = list(self.shared["box"])
        self.shared["barrier"].wait(timeout=60)
        return values

    def from_first(self, value):
        return self.gather(value)[0]

    def meet(self, where):
        self.gather(None)


def together(size, act):
    """Let ``act(ranks)`` run on so many ranks; return what each returned."""
    shared = {"box": [None] * size, "barrier": threading.Barrier(size)}
    results, errors = [None] * size, []

    def one(rank):
        try:
            results[rank] = act(Threads(rank, size, shared))
        except Exception as error:
            errors.append(error)
            shared["barrier"].abort()

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return results


@pytest.fixture
def read(monkeypatch):
    """Which rank read which file: its thread names it."""
    found, original = Counter(), checkpoint._sha256

    def watched(path):
        found[threading.current_thread(), path.name] += 1
        return original(path)

    monkeypatch.setattr(checkpoint, "_sha256", watched)
    return found


def _save(folder, ranks):
    def write(place: Path):
        (place / f"zero_pp_rank_{ranks.rank}_mp_rank_00_optim_states.pt").write_bytes(
            bytes([ranks.rank]) * 1000
        )
        if ranks.first:
            (place / "mp_rank_00_model_states.pt").write_bytes(b"weights" * 100)
            (place / "empty").touch()

    return save_checkpoint(folder, 5, write, keep=2, ranks=ranks)


def _by_rank(read):
    """Return the names that each thread read, and forget them."""
    shares = {}
    for (thread, name), count in read.items():
        assert count == 1
        shares.setdefault(thread, []).append(name)
    read.clear()
    return sorted(map(sorted, shares.values()))


def test_each_rank_reads_its_own_shards_when_it_writes_and_when_it_resumes(tmp_path, read):
    together(3, lambda ranks: _save(tmp_path, ranks))
    written = _by_rank(read)
    assert len(written) == 3
    for rank in range(3):
        own = [name for share in written for name in share if f"pp_rank_{rank}_" in name]
        assert len(own) == 1
    found = together(3, lambda r: latest_checkpoint(tmp_path, print, at_most=9, ranks=r))
    assert _by_rank(read) == written
    assert found[0] == found[1] == found[2]
    path, marker = found[0]
    assert marker["next_step"] == 5
    assert marker["sha256"] == {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.iterdir())
        if file.name != "complete.json"
    }
    # Another number of ranks checks the same files.
    assert (
        together(2, lambda r: latest_checkpoint(tmp_path, print, at_most=9, ranks=r))
        == [found[0]] * 2
    )


@pytest.mark.parametrize("damage", ["changed", "missing", "marker"])
def test_a_damaged_shard_is_found_by_all(tmp_path, damage):
    together(2, lambda ranks: _save(tmp_path, ranks))
    shard = next(tmp_path.glob("step_000005/*pp_rank_1_*"))
    if damage == "changed":
        shard.write_bytes(b"x" * 1000)
    elif damage == "missing":
        shard.unlink()
    else:
        (shard.parent / "complete.json").write_text("[]")
    said = []
    found = together(2, lambda r: latest_checkpoint(tmp_path, said.append, at_most=9, ranks=r))
    assert found == [None, None]
    assert all("checkpoint step_000005 cannot be read (" in line for line in said)
