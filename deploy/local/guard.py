"""Runs one command and makes sure that it does not outlive the process that asked for it, however that one dies.

    python -I -S guard.py PIPE_FD GRACE_S CPUS -- COMMAND...

PIPE_FD is the read end of a pipe whose only write end the asking process holds. The kernel closes that end when the
process goes, kill -9 included, so end-of-file is both the request to stop and the alarm that nobody is left to ask.
A forked child of the asker may hold a copy of the write end, so a change of parent is watched for as well.

On either, or on SIGTERM/SIGINT, the command gets SIGTERM, GRACE_S seconds, then SIGKILL; on SIGUSR1 it gets SIGKILL at
once. The guard's exit status is the command's. Should the guard itself be killed, Linux kills the command
(PR_SET_PDEATHSIG: safe here, unlike in a program with threads, where the death of the *thread* that forked counts).

Standard library only, and run by path: it must start in milliseconds and must not depend on what is installed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

POLL_S = 0.1
"""How often the end of the command and a change of parent are looked for; the pipe wakes the guard at once."""
PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """In the forked child: be killed when the guard is. Other systems than Linux have no such call and go without."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died between the fork and the call above
        os._exit(1)


def main(argv: list[str]) -> int:
    pipe, grace_s = int(argv[0]), float(argv[1])
    cpus = {int(cpu) for cpu in argv[2].split(",") if cpu}
    command = argv[argv.index("--") + 1 :]
    asker = os.getppid()
    if cpus:
        os.sched_setaffinity(0, cpus)
    me = os.getpid()
    asked_to_stop: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def kill_now(_number: int, _frame: object) -> None:
        if child is not None:
            child.kill()

    signal.signal(signal.SIGUSR1, kill_now)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # an asker that waits with sigwait() hands its blocked signals down
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: asked_to_stop.append(received))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: die_with(me))
    deadline: float | None = None
    while child.poll() is None:
        if deadline is None:
            readable, _, _ = select.select([pipe], [], [], POLL_S)
            if asked_to_stop or (readable and not os.read(pipe, 1)) or os.getppid() != asker:
                child.terminate()
                deadline = time.monotonic() + grace_s
        elif time.monotonic() >= deadline:
            child.kill()
            child.wait()
        else:
            time.sleep(0.02)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
