"""What starts next, and what is said of the time left: simulated, without a process."""

from pathlib import Path

from entropy_mech.runs.jobs import Job, Schedule


def _job(name, cost_s, *needs, kind="run"):
    return Job(name, [], Path(name), needs=frozenset(needs), cost_s=cost_s, kind=kind)


def _simulate(jobs, workers, true_s=None):
    """Return (name, start) of each job and the end of the last, were they run on ``workers``."""
    true_s = true_s or {job.name: job.cost_s for job in jobs}
    schedule, waiting = Schedule(jobs, workers), list(jobs)
    now, running, done, starts = 0.0, {}, set(), []
    while waiting or running:
        ready = [job for job in waiting if job.needs <= done]
        while ready and len(running) < workers:
            left = schedule.running_s({job: now - start for job, start in running.items()})
            job = schedule.choose(ready, waiting, left)
            ready.remove(job)
            waiting.remove(job)
            running[job] = now
            starts.append((job.name, now))
        job = min(running, key=lambda job: running[job] + true_s[job.name])
        now = running.pop(job) + true_s[job.name]
        done.add(job.name)
        schedule.finished(job, true_s[job.name])
    return starts, now


def test_equal_jobs_keep_their_order():
    jobs = [_job(f"{i}", 10.0) for i in range(9)]
    starts, end = _simulate(jobs, 2)
    assert [name for name, _ in starts] == [job.name for job in jobs]
    assert end == 50.0


def test_a_long_chain_does_not_start_last():
    """In plain order the last base model and its run would keep one of two cores waiting."""
    short = [_job(f"short {i}", 10.0) for i in range(10)]
    chain = [_job("base", 30.0), _job("long", 40.0, "base"), _job("figure", 5.0, "long")]
    starts, end = _simulate([*short, *chain], 2)
    assert starts[0][0] == "short 0"  # nothing hurries yet
    assert dict(starts)["base"] <= 20.0
    # 175 seconds of work over two cores; no order can do better than 90 with jobs of this grain.
    assert end <= 95.0


def test_the_first_target_is_first_though_others_are_longer():
    jobs = [_job("base", 5.0), _job("run", 10.0, "base"), _job("figure", 3.0, "run")]
    jobs += [_job(f"other {i}", 20.0) for i in range(12)]
    starts, _ = _simulate(jobs, 2)
    assert dict(starts)["figure"] <= 25.0
    assert starts[0][0] == "base"
    assert dict(starts)["run"] <= 20.0


def test_guesses_are_corrected_by_what_was_measured_in_each_kind():
    run, other = _job("a", 10.0), _job("b", 10.0)
    notebook = _job("c", 10.0, kind="notebook")
    schedule = Schedule([run, other, notebook], 1)
    for _ in range(50):
        schedule.finished(run, 30.0)  # runs take three times the guess
    schedule.finished(notebook, 10.0)
    assert abs(schedule.cost_s(other) - 30.0) < 0.5
    assert 10.0 <= schedule.cost_s(notebook) < 25.0  # hardly measured: between its own and all's


def test_time_left_is_work_over_workers_but_no_less_than_the_longest_chain():
    a, b = _job("a", 10.0), _job("b", 10.0, "a")
    side = [_job(f"s{i}", 10.0) for i in range(6)]
    assert Schedule([a, b, *side], 2).left_s([a, b, *side], {})[0] == 40.0
    assert Schedule([a, b], 4).left_s([a, b], {})[0] == 20.0
    half = Job("h", [], Path("h"), cost_s=100.0, fraction=lambda: 0.5)
    on_the_clock, work = Schedule([half], 1).left_s([], {half: 8.0})
    assert (on_the_clock, work) == (8.0, 8.0)  # half done in 8 s, whatever the guess was
