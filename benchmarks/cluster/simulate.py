"""Ten thousand pairs by forty shards, with failures: see run."""
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = ["dotnet", str(HERE / "simulation/bin/Release/net10.0/Ldr.Simulation.dll")]
TIMES = HERE / "times.txt"
ENVIRONMENT = dict(os.environ, DOTNET_gcServer="0", DOTNET_GCHeapHardLimit="0x8000000")


class Shard:
    """A shard: its process, begun again as often as it died."""

    def __init__(self, index, shards, work, factor):
        self.index, self.work = index, work
        self.command = lambda start: [
            *PROGRAM, "shard", str(work / "scans"), str(work / "out"), f"{index}/{shards}",
            str(work / "log" / f"{index}"), str(TIMES), str(factor), f"m{index}x{start}"]
        self.starts, self.running = 0, None
        self.begin()

    def begin(self):
        self.starts += 1
        self.errors = open(self.work / "log" / f"{self.index}.errors", "a", encoding="utf-8")
        self.running = subprocess.Popen(self.command(self.starts), env=ENVIRONMENT, stderr=self.errors)

    def is_done(self):
        return self.running.poll() == 0


def lines(work):
    for file in (work / "log").iterdir():
        if file.suffix != ".errors":
            yield from (words for words in (line.split() for line in file.read_text().splitlines()) if len(words) > 1)


def simulate(work, pairs, shards, factor, kills, stops):
    """Runs all shards to their end; kills some processes, suspends others for longer than claims live, begins some twice."""
    (work / "log").mkdir()
    subprocess.run([*PROGRAM, "make", str(work / "scans"), str(pairs)], check=True)
    chance = random.Random(7)
    began = time.time()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    all_shards = [Shard(i + 1, shards, work, factor) for i in range(shards)]
    suspended, killed, stopped = [], 0, 0
    while not all(shard.is_done() for shard in all_shards):
        time.sleep(1)
        for shard in all_shards:
            code = shard.running.poll()
            if code is not None and code != 0:
                if code != -signal.SIGKILL:
                    raise SystemExit(f"shard {shard.index} ended with {code}: see {work}")
                shard.begin()
        alive = [shard for shard in all_shards if shard.running.poll() is None and shard not in [s for s, _ in suspended]]
        done = sum(1 for _ in (work / "out").glob("s*")) if (work / "out").exists() else 0
        if alive and killed < kills * done / pairs:
            chance.choice(alive).running.kill()
            killed += 1
        elif alive and stopped < stops * done / pairs:
            shard = chance.choice(alive)
            shard.running.send_signal(signal.SIGSTOP)
            # Its scheduler gives it up and begins the shard on another machine.
            suspended.append((shard, (shard.running, time.time() + 15)))
            shard.begin()
            stopped += 1
        for entry in [entry for entry in suspended if entry[1][1] < time.time()]:
            entry[1][0].send_signal(signal.SIGCONT)
            suspended.remove(entry)
    for _, (process, _) in suspended:
        process.send_signal(signal.SIGCONT)
        process.wait()
    seconds = time.time() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, killed, stopped


def timed(command):
    start = time.time()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return time.time() - start, done.stdout


def main(pairs=10_000, shards=40, factor=0.1, kills=20, stops=4):
    work = pathlib.Path(tempfile.mkdtemp(prefix="ldr-simulation-"))
    try:
        seconds, processor, killed, stopped = simulate(work, pairs, shards, factor, kills, stops)
        done = [line[1] for line in lines(work) if line[0] == "Done"]
        ends = [line for line in lines(work) if line[0] == "end"]
        results = sum(1 for _ in (work / "out").glob("s*/result.json"))
        slept = sum(float(line) for line in TIMES.read_text().split()) / len(TIMES.read_text().split()) * factor
        left = [str(file) for file in (work / "out").rglob("*") if ".claims" in str(file)]
        # Of killed processes of "other machines": only a process of that machine would remove them.
        halves = [str(file) for file in (work / "out").rglob(".*.tmp")]
        page, said = timed([*PROGRAM, "page", str(work / "out")])
        table = len((work / "out/group.tsv").read_text().splitlines()) - 1
        again, _ = timed([*PROGRAM, "shard", str(work / "scans"), str(work / "out"), "1/1", str(work / "log/again"), str(TIMES), "1", "again"])
        skipped = [line for line in lines(work) if line[0] == "end"]
        assert any(line[2] == str(pairs) for line in skipped), "not all were skipped"
        twice = len(done) - len(set(done))
        print("| what | measured |\n|---|--:|")
        print(f"| pairs, shards, processes killed, processes suspended | {pairs}, {shards}, {killed}, {stopped} |")
        print(f"| results | {results} |")
        print(f"| rows of `group.tsv` | {table} |")
        print(f"| pairs registered twice | {twice} |")
        print(f"| claims left; temporary files of killed processes | {len(left)}; {len(halves)} |")
        print(f"| time, of which a shard sleeps | {seconds:.0f} s, {slept * pairs / shards:.0f} s |")
        print(f"| processor time a pair | {1000 * processor / pairs:.1f} ms |")
        print(f"| group page from {pairs} results, whole process | {page:.1f} s ({said.split()[1]} s within) |")
        print(f"| finding that {pairs} results are done, whole process | {again:.1f} s |")
        print(f"| shards that ended | {len(ends)} |")
        lost = pairs - results
        return 1 if lost or table != pairs or page > 5 or again > 5 or left else 0
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main(*(type(default)(given) for default, given in zip((10_000, 40, 0.1, 20, 4), sys.argv[1:]))))
