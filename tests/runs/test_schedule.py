"""What is said of the time left, without a process."""

from pathlib import Path

from entropy_mech.runs.jobs import Job, TimeLeft


def _job(name, cost_s, *needs, kind="run"):
    return Job(name, [], Path(name), needs=frozenset(needs), cost_s=cost_s, kind=kind)


def test_guesses_are_corrected_by_what_was_measured_in_each_kind():
    run, other = _job("a", 10.0), _job("b", 10.0)
    notebook = _job("c", 10.0, kind="notebook")
    schedule = TimeLeft(1)
    for _ in range(50):
        schedule.finished(run, 30.0)  # runs take three times the guess
    schedule.finished(notebook, 10.0)
    assert abs(schedule.cost_s(other) - 30.0) < 0.5
    assert 10.0 <= schedule.cost_s(notebook) < 25.0  # hardly measured: between its own and all's


def test_time_left_is_work_over_workers_but_no_less_than_the_longest_job_that_runs():
    jobs = [_job(f"{i}", 10.0) for i in range(8)]
    assert TimeLeft(2).left_s(jobs, {})[0] == 40.0
    assert TimeLeft(4).left_s([], {jobs[0]: 0.0, jobs[1]: 4.0}) == (10.0, 16.0)
    half = Job("h", [], Path("h"), cost_s=100.0, fraction=lambda: 0.5)
    on_the_clock, work = TimeLeft(1).left_s([], {half: 8.0})
    assert (on_the_clock, work) == (8.0, 8.0)  # half done in 8 s, whatever the guess was
