"""The queue: runs in order, processes that die, stops that hold, rows that come back; each by real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as within
from hypothesis import strategies as st

import regimen
from counting import home_in, kill, processes_overlap, put, queue_of, serve, settings, until
from regimen.queue.enqueue import queued_again
from regimen.queue.keeper import MOST_ATTEMPTS, Keeper
from regimen.queue.processlife import birth, lives, send
from regimen.queue.starter import Starter
from regimen.queue.store import Queue
from regimen.queue.worker import work
from regimen.records.reader import Record
from regimen.records.writer import RecordWriter
from regimen.web.services.outcomes import explain


@pytest.fixture(scope="module")
def starter() -> Iterator[Starter]:
    """One warm process for all tests: each would wait for its own to import PyTorch."""
    shared = Starter()
    yield shared
    shared.close()


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return queue_of(home_in(tmp_path))


@pytest.fixture
def keeper(queue: Queue, starter: Starter) -> Keeper:
    return Keeper(queue, starter=starter)


def finish(keeper: Keeper, *records: Record) -> list[Record]:
    """Lets the queue go on until these runs have ended; their records then."""
    for record in records:
        until(lambda record=record: keeper.queue.row(record.id).state == "ended", record.id, between=keeper.tick)
    return [Record(record.folder) for record in records]


def is_at(record: Record, step: int) -> bool:
    path = record.folder / "events.jsonl"
    return f'"step": {step},' in path.read_text()


def start(keeper: Keeper, record: Record, step: int = 2) -> int:
    """Waits until a run is being trained; the number of its process."""
    until(lambda: is_at(record, step), f"step {step}", between=keeper.tick)
    row = keeper.queue.row(record.id)
    assert row is not None
    return row.pid


# ------------------------------------------------------------------------------------------------ order


def test_runs_are_trained_one_after_the_other_as_the_command_line_does(keeper: Keeper) -> None:
    alone = regimen.run(settings(seed=1))
    first, second, third = (put(keeper.queue, seed=seed) for seed in (1, 2, 3))
    assert keeper.queue.move(third.id, 0)
    done = finish(keeper, first, second, third)
    assert [record.status for record in done] == ["completed"] * 3
    began = {record.id: record.state["started_at"] for record in done}
    assert began[third.id] < began[first.id] < began[second.id]
    ended = {record.id: record.state["ended_at"] for record in done}
    assert ended[third.id] <= began[first.id]
    assert ended[first.id] <= began[second.id]
    assert done[0].identity == alone.identity
    assert done[0].resumes == []


def test_a_paused_queue_starts_nothing_and_a_waiting_run_can_be_taken_out(keeper: Keeper) -> None:
    keeper.queue.paused = True
    one, other = put(keeper.queue), put(keeper.queue)
    keeper.tick()
    assert [row.state for row in keeper.queue.rows()] == ["queued", "queued"]
    assert keeper.queue.withdraw(one.id)
    assert not keeper.queue.withdraw(one.id)
    keeper.queue.paused = False
    assert keeper.queue.take().id == other.id
    assert keeper.queue.take() is None
    assert not keeper.queue.remove(other.id)


def test_a_device_takes_as_many_runs_as_it_has_slots(queue: Queue, tmp_path: Path) -> None:
    for number, device in enumerate(["cpu", "cpu", "cpu", "cuda:0", "cuda:0"]):
        queue.add(str(number), tmp_path, device)
    assert [queue.take(2).id for _ in range(4)] == ["0", "1", "3", "4"]
    assert queue.take(2) is None


@within(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "take", "take", "ended", "requeue", "move"]), st.integers(0, 4)),
        min_size=8,
        max_size=25,
    )
)
def test_a_run_has_one_owner_whatever_happens(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    queue = Queue(tmp_path_factory.mktemp("queue") / "queue.sqlite")
    owners: dict[str, int] = {}
    newest = 0
    for what, number in steps:
        run_id = str(number)
        if what == "add":
            queue.add(run_id, Path("somewhere"), "cpu" if number % 2 else "cuda:0")
        elif what == "take" and (row := queue.take()) is not None:
            assert row.id not in owners, "taken twice"
            assert row.token > newest, "a token came again"
            owners[row.id] = newest = row.token
        elif what == "move":
            queue.move(run_id, number)
        elif what in ("ended", "requeue") and owners:
            run_id = sorted(owners)[number % len(owners)]
            give = queue.ended if what == "ended" else queue.requeue
            assert not give(run_id, owners[run_id] - 1), "an old token was taken for a new one"
            assert give(run_id, owners.pop(run_id))
        running = queue.rows("running")
        assert {row.id: row.token for row in running} == owners
        assert len({row.device for row in running}) == len(running)


# ------------------------------------------------------------------------------------------------ processes that die


def test_a_run_whose_process_is_killed_goes_on_to_the_same_end(keeper: Keeper) -> None:
    alone = regimen.run(settings(steps=30))
    record = put(keeper.queue, steps=30, wait_s=0.02)
    os.killpg(start(keeper, record, 12), signal.SIGKILL)
    (done,) = finish(keeper, record)
    assert done.status == "completed"
    assert done.resumes
    assert [(s, k, v) for s, k, v in done.identity] == alone.identity
    assert not processes_overlap(record.folder)


def test_a_run_that_dies_again_and_again_is_lost_and_the_next_one_is_trained(keeper: Keeper) -> None:
    bad, good = put(keeper.queue, ends="killed"), put(keeper.queue)
    lost, completed = finish(keeper, bad, good)
    assert (lost.status, completed.status) == ("lost", "completed")
    found = explain(lost)
    assert found.kind == "killed"
    assert f"{MOST_ATTEMPTS} processes" in found.sentence
    assert "SIGKILL" in found.sentence


@pytest.mark.parametrize(
    ("ends", "kind", "status", "words"),
    [
        ("raises", "plugin", "failed", "counting.py:"),
        ("memory", "out_of_memory", "failed", "out of memory"),
        ("disk", "disk_full", "failed", "disk is full"),
        ("nan", "diverged", "diverged", "not finite"),
        ("exits", "crashed", "failed", "code 3"),
        ("crashes", "crashed", "lost", "SIGSEGV"),
    ],
)
def test_ends_are_told_apart_with_what_to_do_next(
    keeper: Keeper, ends: str, kind: str, status: str, words: str
) -> None:
    (done,) = finish(keeper, put(keeper.queue, ends=ends))
    found = explain(done)
    assert (done.status, found.kind) == (status, kind)
    assert words in found.sentence.replace("Out of", "out of").replace("Cannot", "cannot")
    assert found.next_step
    assert any("step 5" in line for line in found.log_tail)


@pytest.mark.parametrize("ends", ["raises", "exits"])  # the worker writes the end; the keeper does
def test_the_queue_goes_on_after_a_failure_unless_told_otherwise(keeper: Keeper, ends: str) -> None:
    finish(keeper, put(keeper.queue, ends=ends))
    assert not keeper.queue.paused
    keeper.queue.goes_on_after_failure = False
    finish(keeper, put(keeper.queue))
    assert not keeper.queue.paused
    finish(keeper, put(keeper.queue, ends=ends))
    assert keeper.queue.paused


def test_a_process_that_dies_before_it_says_so_is_noticed(queue: Queue, tmp_path: Path) -> None:
    keeper = Keeper(queue, starter=Starter(warm=False))
    record = put(queue)
    keeper.tick()
    (worker, _) = keeper._workers[queue.row(record.id).token]
    os.killpg(worker._code.__self__.pid, signal.SIGKILL)
    until(lambda: queue.row(record.id).attempts == 2, "a second process", seconds=10, between=keeper.tick)
    finish(keeper, record)


def test_a_folder_that_is_gone_is_forgotten(keeper: Keeper, tmp_path: Path) -> None:
    keeper.queue.add("gone", tmp_path / "nowhere", "cpu")
    good = put(keeper.queue)
    row = keeper.queue.take()
    assert row.id == "gone"
    keeper._workers[row.token] = keeper._starter.start(keeper.queue.path, row), 0
    until(lambda: keeper.queue.row("gone") is None, "forgotten", between=keeper.tick)
    assert finish(keeper, good)[0].status == "completed"


def test_a_number_that_another_process_has_now_is_not_the_same_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    born = birth(child.pid)
    assert lives(child.pid, born)
    assert not lives(child.pid, born + "0")
    assert not send(child.pid, born + "0", signal.SIGKILL)
    assert child.poll() is None
    assert send(child.pid, born, signal.SIGKILL)
    until(lambda: not lives(child.pid, born), "gone, although nobody has waited for it", seconds=5)
    child.wait()
    assert birth(child.pid) == ""


# ------------------------------------------------------------------------------------------------ one owner


def test_an_older_token_trains_nothing(queue: Queue) -> None:
    record = put(queue)
    row = queue.take()
    assert work(queue.path, record.id, row.token - 1) == 0
    assert Record(record.folder).status == "queued"
    assert queue.requeue(record.id, row.token)
    assert queue.beat(row) is None


def test_two_processes_for_one_run_train_it_once(keeper: Keeper) -> None:
    record = put(keeper.queue, steps=20, wait_s=0.02)
    row = keeper.queue.take()
    workers = [keeper._starter.start(keeper.queue.path, row) for _ in range(2)]
    keeper._workers[row.token] = workers[0], 0
    (done,) = finish(keeper, record)
    until(lambda: all(worker.code() is not None for worker in workers), "both ended")
    assert done.status == "completed"
    assert [step for step, _, _ in done.identity] == list(range(1, 21))
    assert not processes_overlap(record.folder)
    assert done.resumes == []


def test_who_lost_a_run_to_another_ends_at_once_and_writes_nothing(keeper: Keeper) -> None:
    record = put(keeper.queue, steps=2000, wait_s=0.02)
    pid = start(keeper, record)
    born = birth(pid)
    row = keeper.queue.row(record.id)
    assert keeper.queue.requeue(record.id, row.token)
    until(lambda: not lives(pid, born), "ended", seconds=20)
    assert Record(record.folder).state["status"] == "running"


# ------------------------------------------------------------------------------------------------ stopping


def test_a_stop_before_training_begins_holds(keeper: Keeper) -> None:
    record = put(keeper.queue)
    row = keeper.queue.take()
    assert keeper.queue.ask_to_stop(record.id)
    keeper._workers[row.token] = keeper._starter.start(keeper.queue.path, row), 0
    (done,) = finish(keeper, record)
    assert done.status == "stopped"
    assert not (record.folder / "witness.txt").exists()


def test_a_stopped_run_is_resumed_to_the_same_end(keeper: Keeper) -> None:
    alone = regimen.run(settings(steps=200))
    record = put(keeper.queue, steps=200, wait_s=0.02)
    start(keeper, record)
    keeper.queue.ask_to_stop(record.id)  # and no file: the worker makes the one that training looks for
    (stopped,) = finish(keeper, record)
    assert (stopped.status, explain(stopped).kind) == ("stopped", "stopped")
    again = queued_again(record.folder)
    keeper.queue.add(record.id, again.folder, again.state["queued"])
    (done,) = finish(keeper, record)
    assert done.status == "completed"
    assert done.identity == alone.identity


def test_a_stop_that_is_not_heeded_becomes_firm(keeper: Keeper) -> None:
    keeper.grace_s = 0.5
    record = put(keeper.queue, steps=10_000, wait_s=0.02, ends="deaf")
    start(keeper, record)
    keeper.queue.ask_to_stop(record.id)
    (done,) = finish(keeper, record)
    assert done.status == "stopped"
    assert "SIGKILL" in done.state["message"]
    assert list(done.folder.glob("checkpoints/step-*")), "what it saved is there"


def test_a_run_that_is_queued_while_its_process_ends_is_not_forgotten(queue: Queue, tmp_path: Path) -> None:
    queue.add("a", tmp_path, "cpu")
    row = queue.take()
    queue.add("a", tmp_path, "cpu")
    assert queue.row("a").state == "running"
    assert queue.ended("a", row.token)
    assert queue.row("a").state == "queued"


# ------------------------------------------------------------------------------------------------ found again


def test_a_lost_database_is_made_again_from_the_folders(keeper: Keeper, tmp_path: Path) -> None:
    records = [put(keeper.queue, seed=9 - number) for number in range(4)]  # folders sort the other way
    before = [(row.id, row.folder, row.device, row.state) for row in keeper.queue.rows()]
    keeper.queue.path.unlink()
    keeper.find_again(tmp_path / "runs")
    assert [(row.id, row.folder, row.device, row.state) for row in keeper.queue.rows()] == before
    assert [row.id for row in keeper.queue.rows()] == [record.id for record in records]
    keeper.find_again(tmp_path / "runs")
    assert len(keeper.queue.rows()) == 4


def test_a_damaged_database_is_set_aside_and_made_again(keeper: Keeper, tmp_path: Path) -> None:
    record = put(keeper.queue)
    keeper.queue.path.write_bytes(b"no database" * 1000)
    queue = Queue(keeper.queue.path)
    assert queue.rows() == []
    assert list(queue.path.parent.glob("queue.sqlite.damaged-*"))
    keeper.find_again(tmp_path / "runs")
    assert [row.id for row in queue.rows("queued")] == [record.id]


def test_what_another_process_could_not_finish_is_finished(keeper: Keeper, tmp_path: Path) -> None:
    taken_out, queued_again, never_added = (put(keeper.queue, seed=seed) for seed in range(3))
    keeper.queue.withdraw(taken_out.id)  # and the server was killed before it wrote the end
    keeper.queue.withdraw(queued_again.id)
    writer = RecordWriter(queued_again.folder, queued_again.id)
    writer.status("queued", queued_at=time.time() + 1)  # and was killed before it wrote the row
    writer.close()
    keeper.queue.remove(never_added.id)
    keeper.find_again(tmp_path / "runs")
    assert Record(taken_out.folder).status == "stopped"
    assert {row.id for row in keeper.queue.rows("queued")} == {queued_again.id, never_added.id}


def test_damaged_files_of_one_run_do_not_hold_up_the_others(keeper: Keeper) -> None:
    bad, good = put(keeper.queue), put(keeper.queue)
    (bad.folder / "status.json").write_text("{")
    assert finish(keeper, bad, good)[1].status == "completed"


def test_a_wish_to_stop_of_yesterday_stops_nothing(keeper: Keeper) -> None:
    record = put(keeper.queue)
    (record.folder / "stop").touch()
    assert finish(keeper, record)[0].status == "completed"


def test_a_run_whose_database_is_lost_while_it_trains_is_not_started_twice(
    keeper: Keeper, tmp_path: Path, starter: Starter
) -> None:
    record = put(keeper.queue, steps=150, wait_s=0.03)
    start(keeper, record)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{keeper.queue.path}{suffix}").unlink(missing_ok=True)
    following = Keeper(Queue(keeper.queue.path), starter=starter)
    following.find_again(tmp_path / "runs")
    until(lambda: following.queue.row(record.id) is not None, "the worker's row", seconds=20, between=following.tick)
    (done,) = finish(following, record)
    assert done.status == "completed"
    assert done.resumes == []
    assert not processes_overlap(record.folder)


def test_a_killed_server_leaves_its_run_and_the_next_one_finds_it(tmp_path: Path, starter: Starter) -> None:
    queue = queue_of(home_in(tmp_path))
    record = put(queue, steps=300, wait_s=0.02)
    server = serve(tmp_path)
    until(lambda: is_at(record, 2), "training")
    kill(server)
    at = len((record.folder / "events.jsonl").read_bytes())
    time.sleep(0.5)
    assert len((record.folder / "events.jsonl").read_bytes()) > at, "it goes on"
    following = Keeper(queue, starter=starter)
    following.find_again(tmp_path / "runs")
    (done,) = finish(following, record)
    assert (done.status, done.resumes) == ("completed", [])
