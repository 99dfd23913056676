"""Steps per second of one process and of two ranks; a model of what more machines give."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

TRAINING = "student-reconstruction"
STEPS = 80
# Of the student: affine-light and two stages.
NETWORKS = {"1 Gbit/s": 0.125e9, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
PIECE = 4 * 65536
MPIRUN = ["mpirun", "--allow-run-as-root", "--bind-to", "core", "-n", "2"]


def train(folder, launcher, threads):
    """Steps per second of the steps alone, and the number of parameters."""
    run = os.path.join(folder, "run")
    shutil.rmtree(run, ignore_errors=True)
    setting = f"train.{TRAINING}"
    arguments = ["./ldr-fs", "train", "docs/lab/experiments/hippocampus-student.json", "--only", TRAINING]
    arguments += ["--output", run, "--threads", str(threads), "--set", f"{setting}.steps={STEPS}"]
    arguments += ["--set", f"{setting}.validate_every={STEPS}", "--set", f"{setting}.checkpoint_every={STEPS}"]
    arguments += ["--set", f"{setting}.seeds=[1]", "--set", "evaluation.pairs=1"]
    said = subprocess.run(launcher + arguments, capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit(said.stderr)
    times = json.loads(open(os.path.join(run, "times.jsonl")).readlines()[-1])
    stepping = times["seconds"] * sum(times[part] for part in ("data", "student", "optimiser", "rest"))
    parameters = int(said.stderr.split(" parameters")[0].split()[-1].replace(",", ""))
    return STEPS / stepping, parameters


def model(seconds, rank_seconds, parameters):
    """Pairs per second of n machines against one: each does a whole batch in a step of its own, then gradients go along the
    chain of ranks in pieces, and the sum to all."""
    size = 4 * parameters
    for name, rate in NETWORKS.items():
        cells = []
        for n in (2, 4, 8, 16, 32, 64):
            moving = 2 * size / rate + (n - 2) * PIECE / rate
            cells.append(f"{n * seconds / (seconds + rank_seconds + moving):.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    ways = [("one process, 2 threads", [], 2), ("one process, 1 thread", [], 1), ("2 ranks, 1 thread each", MPIRUN, 1)]
    with tempfile.TemporaryDirectory() as folder:
        found = {name: [] for name, _, _ in ways}
        for _ in range(rounds):
            for name, launcher, threads in ways:
                rate, parameters = train(folder, launcher, threads)
                found[name].append(rate)
    print(f"{parameters:,} parameters, {4 * parameters / 1e6:.0f} MB a step")
    print("| one machine | steps/s |\n|---|---|")
    for name, rates in found.items():
        print(f"| {name} | {', '.join(f'{rate:.2f}' for rate in rates)} |")
    best = max(found["one process, 2 threads"])
    # What a rank does beside its own gradient: copies, additions.
    beside = 0.02
    print("| machines | 2 | 4 | 8 | 16 | 32 | 64 |\n|---|--:|--:|--:|--:|--:|--:|")
    model(1 / best, beside, parameters)


if __name__ == "__main__":
    main()
