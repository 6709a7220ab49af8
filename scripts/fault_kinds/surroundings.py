"""What happens around a run: signals, a clock that jumps, a disk that fills, outputs of years."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from scripts.fault_kinds.trying import (
    EACH_BATCH,
    GLOW,
    QUIET,
    ROOT,
    USER_ERROR,
    Ended,
    Fault,
    begin,
    difference,
    ended,
    train,
    trained,
    wait_for_lines,
)

TRAINING = (*GLOW, *QUIET, EACH_BATCH, "trainer.max_epochs=3")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLOWER = 1.3  # times as much CPU time as a start with no runs beside it
FOLDERS = 10_000

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static long calls;

static long offset(void) {
    static const long jumps[] = {0, 86400, -3600, -31536000, 7200};
    return jumps[(calls++ / atol(getenv("CALLS_BETWEEN_JUMPS"))) % 5];
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
"""
"""The clock of the day, a day ahead, an hour and a year behind, every so many calls; the steady clock runs on."""


def prepare(prepared: Path) -> None:
    trained(*TRAINING, f"hydra.run.dir={prepared / 'whole'}", where=prepared)


def signalled(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    """At a moment of training, validation, test or report: state kept, the code says which."""
    run, sent = folder / "run", chance.choice(SIGNALS)
    process = begin(*TRAINING, f"hydra.run.dir={run}", where=folder)
    wait_for_lines(run / "metrics.csv", chance.randrange(2, 40), process)
    time.sleep(0.5 * chance.random())
    process.send_signal(sent)
    end = ended(process)
    if end.code not in (0, 128 + sent) or "Traceback" in end.output:
        return f"{sent.name}: exit code {end.code}: {end.output.strip()[-300:]}"
    return _resumed(run, prepared / "whole", folder)


def jumped(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    """Stopped by a kill, and resumed, by clocks that jump at different moments."""
    run = folder / "run"
    clock = ("env", f"LD_PRELOAD={prepared / 'clock.so'}")
    often = [f"CALLS_BETWEEN_JUMPS={chance.randrange(5, 200)}" for _ in range(2)]
    process = begin(*TRAINING, f"hydra.run.dir={run}", where=folder, through=(*clock, often[0]))
    wait_for_lines(run / "metrics.csv", chance.randrange(2, 30), process)
    process.kill()
    process.communicate()
    return _resumed(run, prepared / "whole", folder, through=(*clock, often[1]))


def prepare_clock(prepared: Path) -> None:
    prepare(prepared)
    (prepared / "clock.c").write_text(CLOCK)
    command = ["cc", "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"]
    subprocess.run(command, cwd=prepared, check=True)


def filled(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    """On a disk of a random size; resumed on a larger one."""
    kib, disk, run = chance.randrange(300, 2500), folder / "disk", folder / "run"
    disk.mkdir()
    training = " ".join([sys.executable, str(ROOT / "train.py"), *TRAINING, "hydra.run.dir=disk/run"])
    inside = f"mount -t tmpfs -o size={kib}k tmpfs disk && {{ {training}; code=$?; cp -r disk/run run; exit $code; }}"
    made = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "bash", "-c", inside], cwd=folder, capture_output=True, text=True
    )
    end = Ended(made.returncode, made.stdout + made.stderr)
    if end.code == 0:
        return difference(run, prepared / "whole")
    if (wrong := end.refusal_of("the disk is full")) is not None:
        return f"{kib} KiB: {wrong}"
    return _resumed(run, prepared / "whole", folder) if (run / "checkpoints" / "last.ckpt").is_file() else None


def crowded(prepared: Path, folder: Path, chance: random.Random) -> str | None:
    """Starts beside the runs of years; no slower than alone."""
    alone, beside = (_start_seconds(place) for place in (folder, prepared))
    return None if beside < SLOWER * alone else f"{beside:.1f} CPU s beside {FOLDERS} runs, {alone:.1f} alone"


def _start_seconds(where: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    trained(*GLOW, *QUIET, "trainer.max_steps=1", where=where)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare_crowd(prepared: Path) -> None:
    trained(*GLOW, *QUIET, "trainer.max_steps=1", "hydra.run.dir=one", where=prepared)
    for number in range(FOLDERS):
        run = prepared / "outputs" / "glow" / "digits" / f"2026-01-01_00-00-00_{number:08x}"
        (run / ".hydra").mkdir(parents=True)
        for name in ("summary.json", "metrics.csv", ".hydra/overrides.yaml"):
            shutil.copy(prepared / "one" / name, run / name)


def _resumed(run: Path, whole: Path, folder: Path, through: tuple[str, ...] = ()) -> str | None:
    end = train(f"resume={run}", where=folder, through=through)
    is_finished = end.code == USER_ERROR and "nothing to do" in end.output
    return end.output.strip()[-300:] if end.code and not is_finished else difference(run, whole)


FAULTS = [
    Fault("signalled_anywhere", prepare, signalled),
    Fault("crowded_outputs", prepare_crowd, crowded, most=3),
]
if shutil.which("cc"):
    FAULTS.append(Fault("clock_jumps", prepare_clock, jumped))
if shutil.which("unshare") and not subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
    FAULTS.append(Fault("disk_fills", prepare, filled))
