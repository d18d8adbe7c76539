"""Logs: the one before a restart is kept, and a log that grows is bounded while a real process writes it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.errors import ProcessError, StateError
from executor.processes import logs
from executor.processes import table as processes
from executor.processes.logs import LogLimits, former, read_end, rotate
from tests.executor.worlds import World, until

# Writes a line per number: as many as the file of orders asks for, then waits for more.
WRITER = """
import os, sys, time
written = 0
while True:
    with open(sys.argv[1]) as stream:
        asked = int(stream.read() or 0)
    while written < asked:
        os.write(1, b"line %06d\\n" % written)
        written += 1
    time.sleep(0.001)
"""
# Writes as fast as it can, but waits where nobody rotates: the disk is not its own.
ENDLESS = """
import os, time
number = 0
while True:
    os.write(1, b"line %09d\\n" % number)
    number += 1
    while number % 1000 == 0 and os.fstat(1).st_size > 20_000_000:
        time.sleep(0.001)
"""
KEEP = 9


def table(world: World, limits: LogLimits | None = None) -> processes.ProcessTable:
    world.folder.create()
    return processes.ProcessTable(world.folder.processes, world.folder.logs, limits)


def start(world: World, code: str, *arguments: str, name: str = "p", limits: LogLimits | None = None) -> processes.ProcessRecord:
    argv = (sys.executable, "-c", code, *arguments)
    return table(world, limits).start(name, argv, dict(os.environ), "hash", world.folder.root)


def run(world: World, code: str, name: str = "p", limits: LogLimits | None = None) -> Path:
    """To its end; its log."""
    record = start(world, code, name=name, limits=limits)
    assert until(lambda: not processes.alive(record))
    return Path(record.log)


def files(path: Path) -> Iterator[Path]:
    """The log and its formers, oldest first."""
    yield from (found for number in range(KEEP, 0, -1) if (found := former(path, number)).exists())
    yield path


def numbers(path: Path) -> list[int]:
    """Of all lines, oldest first."""
    return [int(found) for found in re.findall(r"^line (\d+)$", "".join(found.read_text() for found in files(path)), re.MULTILINE)]


def write_lines(path: Path, begin: int, end: int) -> None:
    with path.open("a") as stream:
        stream.writelines(f"line {number}\n" for number in range(begin, end))


def stop(record: processes.ProcessRecord) -> None:
    asyncio.run(processes.stop(record, grace_s=5.0))


def test_a_restart_keeps_the_logs_before_it(world: World) -> None:
    for number in range(4):
        log = run(world, f"print('this was start {number}')", limits=LogLimits(kept=2))
    assert [path.name for path in sorted(log.parent.iterdir())] == ["p.1.log", "p.2.log", "p.log"]
    assert [re.findall(r"start (\d)", path.read_text()) for path in files(log)] == [["1"], ["2"], ["3"]]
    assert read_end(log) == "this was start 3\n"


def test_a_log_that_grows_is_bounded_and_loses_no_line(world: World, tmp_path: Path) -> None:
    orders = tmp_path / "orders"
    orders.write_text("0")
    limits = LogLimits(limit_bytes=3000, kept=KEEP)
    record = start(world, WRITER, str(orders), limits=limits)
    log = Path(record.log)
    for asked in range(100, 1000, 100):
        orders.write_text(str(asked))
        assert until(lambda: bool(numbers(log)) and numbers(log)[-1] == asked - 1)  # noqa: B023 - asked before the next turn
        assert table(world, limits).rotate_logs() == ()
        assert log.stat().st_size <= limits.limit_bytes
        assert numbers(log) == list(range(asked))
        assert "line 000000\n" in read_end(log)
        assert f"line {asked - 1:06d}\n" in read_end(log)
    assert former(log, 3).exists()
    stop(record)


def test_a_process_that_never_rests_goes_on_at_the_end_of_the_emptied_log(world: World) -> None:
    limits = LogLimits(limit_bytes=100_000, kept=2)
    record = start(world, ENDLESS, limits=limits)
    log = Path(record.log)
    for _ in range(5):
        assert until(lambda: log.stat().st_size > limits.limit_bytes)
        assert table(world, limits).rotate_logs() == ()
    stop(record)
    found = numbers(log)
    assert found
    assert found == sorted(set(found))
    assert not any(b"\0" in path.read_bytes() for path in files(log))
    assert not former(log, 3).exists()


# Ends the process, as kill -9 does, before the so manieth change or reading of a file.
DYING = """
import os, sys
from pathlib import Path
from executor.processes import logs
left = int(sys.argv[2])
def dying(real):
    def call(*arguments, **options):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return real(*arguments, **options)
    return call
for owner, name in ((os, "pread"), (os, "write"), (os, "fsync"), (os, "ftruncate"), (Path, "rename"), (Path, "unlink")):
    setattr(owner, name, dying(getattr(owner, name)))
logs.rotate(Path(sys.argv[1]), 110, 9)
"""


def test_killed_anywhere_no_line_is_lost(tmp_path: Path) -> None:
    for step in range(100):
        log = tmp_path / f"{step}" / "p.log"
        log.parent.mkdir()
        write_lines(log, 0, 20)
        assert rotate(log, 110, KEEP)
        write_lines(log, 20, 40)
        code = subprocess.run([sys.executable, "-c", DYING, str(log), str(step)], check=False, timeout=300).returncode
        assert sorted(set(numbers(log))) == list(range(40))
        write_lines(log, 40, 43)
        # killed late, it has emptied the log, and there is nothing to do
        assert rotate(log, 110, KEEP) == (numbers(log)[-1] == 42 and not log.stat().st_size)
        assert sorted(set(numbers(log))) == list(range(43))
        assert not list(log.parent.glob(".*"))
        if code == 0:
            break
        assert code == 9
    # every step of a rotation was tried, and the last try went through
    assert 8 < step < 99


def test_a_gap_that_a_kill_left_does_not_push_out_the_oldest(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    former(log, 2).write_text("line 0\n")
    former(log, 3).write_text("older\n")
    write_lines(log, 1, 100)
    assert rotate(log, 500, keep=3)
    assert former(log, 3).read_text() == "older\n"
    assert numbers(log) == list(range(100))
    former(log, 4).write_text("of an earlier, larger limit\n")
    write_lines(log, 100, 200)
    assert rotate(log, 500, keep=3)
    assert numbers(log) == list(range(200))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.1.log", "p.2.log", "p.3.log", "p.log"]


def test_of_a_log_far_beyond_the_limit_the_end_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    write_lines(log, 0, 100_000)
    assert rotate(log, 1000, keep=2)
    assert former(log, 1).stat().st_size <= 2100
    assert former(log, 1).read_text().startswith("--- ullage: left out the beginning of this log, bytes: ")
    assert numbers(log)[-1] == 99_999
    assert log.read_bytes() == b""


def test_a_full_disk_is_told_and_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "p.log"
    write_lines(log, 0, 100)
    before = log.read_bytes()
    for number in (1, 2):
        former(log, number).write_text(f"{number}\n")

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(StateError, match=r"p\.log: the log cannot be rotated and goes on growing: No space left on device"):
                rotate(log, 500, keep=2)
    # only the oldest went, once, to make room
    assert (log.read_bytes(), sorted(path.name for path in tmp_path.iterdir())) == (before, ["p.1.log", "p.log"])
    assert rotate(log, 500, keep=2)
    assert former(log, 2).read_text() == "1\n"
    assert numbers(log) == list(range(100))


def test_starts_on_a_full_disk_are_told_and_push_out_no_former_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    log = run(world, "print('hello')", limits=LogLimits(kept=1))

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(ProcessError, match="p: cannot be started: No space left on device"):
                start(world, "print('never')", limits=LogLimits(kept=1))
    assert former(log, 1).read_text().endswith("\nhello\n")


def test_links_are_not_followed(world: World, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("x" * 1000)
    world.folder.create()
    log = world.folder.logs / "p.log"
    log.symlink_to(target)
    with pytest.raises(StateError, match="it is a link, which is not followed"):
        rotate(log, 10, keep=2)
    assert read_end(log) == ""
    run(world, "print('hello')")
    assert not log.is_symlink()
    assert (read_end(log), target.read_text()) == ("hello\n", "x" * 1000)
    assert former(log, 1).is_symlink()


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.log")
    with pytest.raises(StateError, match="not a regular file"):
        rotate(tmp_path / "p.log", 10, keep=2)
    assert not rotate(tmp_path / "absent.log", 10, keep=2)


def test_two_rotations_at_once(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    write_lines(log, 0, 100)
    with log.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not rotate(log, 10, keep=2)
    assert rotate(log, 10, keep=2)


def test_a_process_that_does_not_append_is_left_alone(world: World) -> None:
    """As engines of an earlier version: emptied, their log would get a hole as long as what was there."""
    limits = LogLimits(limit_bytes=1500, kept=2)
    code = "import os, signal, sys\nos.dup2(os.open(sys.argv[1], os.O_WRONLY), 1)\nos.write(1, b'x' * 2000)\nsignal.pause()"
    record = start(world, code, str(world.folder.logs / "p.log"), limits=limits)
    log = Path(record.log)
    assert until(lambda: log.stat().st_size == 2000)
    assert table(world, limits).rotate_logs() == ()
    assert log.stat().st_size == 2000
    stop(record)
    # nobody writes any more
    assert table(world, limits).rotate_logs() == ()
    assert (log.stat().st_size, former(log, 1).stat().st_size) == (0, 2000)


def test_the_log_of_one_name_is_no_former_of_another(world: World) -> None:
    for _ in range(2):
        for name in ("a", "a.1"):
            run(world, f"print({name!r})", name=name)
    assert sorted(path.name for path in world.folder.logs.iterdir()) == ["a%2E1.1.log", "a%2E1.log", "a.1.log", "a.log"]
    assert (world.folder.logs / "a.1.log").read_text().endswith("\na\n")


def test_what_a_former_process_wrote_is_not_this_one_s(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    for text in ("ValueError: the former\n", "the present\n"):
        descriptor = logs.open_new(log, 3)
        os.write(descriptor, text.encode())
        os.close(descriptor)
    assert read_end(log) == "the present\n"
    assert rotate(log, 50, keep=3)
    with log.open("a") as stream:
        stream.write("and more\n")
    assert read_end(log) == "the present\nand more\n"


def test_limits_that_keep_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="must be 1 or more"):
        LogLimits(kept=0)
