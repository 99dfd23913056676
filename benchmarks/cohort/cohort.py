"""Targets of cohorts: speed, kills, spoilt pairs, memory. See `run` beside this file."""
import gzip
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

DATA = pathlib.Path(os.environ.get("LDR_DATA", "../shared/data")).resolve()
BRAINS = sorted((DATA / "Brain_IXI/imagesTr").glob("*.nii.gz"))
TEMPLATE = BRAINS[0]
MODEL = ["--model", "brain"]
# The files themselves are what is measured: `./ldr-fs` looks for changed sources first.
PROGRAM = ["dotnet", "src/Ldr.Cli/bin/Release/net10.0/ldr-fs.dll"]


def cohort(scans, output, *options):
    return [*PROGRAM, "cohort", str(scans), "--template", str(TEMPLATE), "--output", str(output), *options]


def scans_folder(folder, files):
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    return folder


def digests(output):
    """Of every file; of results without times, of no page (it names its own command)."""
    found = {}
    for file in sorted(output.rglob("*")):
        if file.is_dir() or file.name == "group.html":
            continue
        content = file.read_bytes()
        if file.name == "result.json":
            result = json.loads(content)
            result.pop("milliseconds")
            content = json.dumps(result).encode()
        found[str(file.relative_to(output))] = hashlib.sha256(content).hexdigest()
    return found


def timed(command):
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return time.time() - start, done


def speed(work):
    scans = scans_folder(work / "hundred", BRAINS[1:101])
    for name, options, limit in (("without a model", [], 180), ("with `--model brain`", MODEL, 60)):
        seconds, done = timed(cohort(scans, work / "speed", *options))
        yield f"100 brains to a template, {name}", f"{seconds:.0f} s", f"under {limit} s", done.returncode == 0 and seconds < limit
        shutil.rmtree(work / "speed")


def kills(work):
    scans = scans_folder(work / "thirty", BRAINS[1:31])
    subprocess.run(cohort(scans, work / "whole", *MODEL), check=True, capture_output=True)
    random.seed(1)
    for _ in range(20):
        running = subprocess.Popen(cohort(scans, work / "broken", *MODEL), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0.3, 3))
        running.send_signal(signal.SIGKILL)
        running.wait()
    _, done = timed(cohort(scans, work / "broken", *MODEL, "--json"))
    same = digests(work / "whole") == digests(work / "broken")
    skipped = json.loads(done.stdout)["skipped"]
    yield "30 brains, killed 20 times", f"{'identical' if same else 'other'} files ({skipped} done before the last run)", "identical files", same


def volume(data):
    """Header and voxels (a mutable list of slices of rows) of a NIfTI file of bytes."""
    header, body = bytearray(data[:352]), data[352:]
    nx, ny, nz = struct.unpack_from("<3h", header, 42)
    assert struct.unpack_from("<h", header, 70)[0] == 2
    return header, [[list(body[(z * ny + y) * nx:(z * ny + y + 1) * nx]) for y in range(ny)] for z in range(nz)]


def shifted(header):
    for place in (268, 272, 276):
        struct.pack_into("<f", header, place, struct.unpack_from("<f", header, place)[0] + 50)
    for row in range(3):
        at = 280 + 16 * row + 12
        struct.pack_into("<f", header, at, struct.unpack_from("<f", header, at)[0] + 50)


def spoil(kind, header, slices):
    """A scan spoilt in one way."""
    rng = random.Random(kind)
    if kind == "upside-down":
        slices = slices[::-1]
    elif kind == "back-to-front":
        slices = [rows[::-1] for rows in slices]
    elif kind == "left-to-right":
        slices = [[row[::-1] for row in rows] for rows in slices]
    elif kind == "noise":
        slices = [[[rng.randrange(256) for _ in row] for row in rows] for rows in slices]
    elif kind == "noisy":
        slices = [[[min(255, max(0, int(v + rng.gauss(0, 90)))) for v in row] for row in rows] for rows in slices]
    elif kind == "cut-top":
        slices = [rows if z < len(slices) // 2 else [[0] * len(row) for row in rows] for z, rows in enumerate(slices)]
    elif kind == "cut-side":
        slices = [[row[:2 * len(row) // 3] + [0] * (len(row) - 2 * len(row) // 3) for row in rows] for rows in slices]
    elif kind == "shifted":
        shifted(header)
    return header, slices


def spoilt(work):
    scans = scans_folder(work / "spoilt", BRAINS[1:101])
    kinds = ["upside-down", "back-to-front", "left-to-right", "noise", "noisy", "cut-top", "cut-side", "shifted"]
    for kind, file in zip(kinds, BRAINS[101:]):
        header, slices = spoil(kind, *volume(gzip.decompress(file.read_bytes())))
        body = b"".join(bytes(row) for rows in slices for row in rows)
        (scans / f"spoilt-{kind}.nii.gz").write_bytes(gzip.compress(bytes(header) + body))
    shutil.copy(DATA / "CT_torso/example_ct.nii.gz", scans / "spoilt-torso.nii.gz")
    shutil.copy(DATA / "Task04_Hippocampus/imagesTr/hippocampus_003.nii.gz", scans / "spoilt-hippocampus.nii.gz")
    for name, options in (("without a model", []), ("with `--model brain`", MODEL)):
        subprocess.run(cohort(scans, work / "group", *options), check=False, capture_output=True)
        ids = [line.split("\t")[0] for line in (work / "group/group.tsv").read_text().splitlines()[1:]]
        places = sorted(ids.index(f"spoilt-{kind}") + 1 for kind in [*kinds, "torso", "hippocampus"])
        yield f"10 spoilt of 110 pairs, {name}", f"places {', '.join(map(str, places))}", "within the first 15", places[-1] <= 15
        shutil.rmtree(work / "group")


def memory(work):
    pairs = 2_000
    folder = work / "small"
    folder.mkdir()
    names = sorted((DATA / "Task04_Hippocampus/imagesTr").glob("*.nii.gz"))[:20]
    lines = [f"p{i:05},{names[i % 20]},{names[(7 * i + 3) % 20]}" for i in range(pairs)]
    (folder / "pairs.csv").write_text("id,fixed,moving\n" + "\n".join(lines) + "\n")
    command = [*PROGRAM, "cohort", str(folder / "pairs.csv"), "--output", str(work / "many"),
               "--affine", "none", "--refine", "1", "--write", "moved"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    held = []
    while running.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{running.pid}/status").read_text()
            held += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")]
        except OSError:
            pass
        time.sleep(0.5)
    early, late = (sum(part) / len(part) for part in (held[len(held) // 4:len(held) // 2], held[3 * len(held) // 4:]))
    rows = len((work / "many/group.tsv").read_text().splitlines()) - 1
    yield (f"{pairs} small pairs, memory in the second and in the last quarter", f"{early:.0f} and {late:.0f} MB", "flat",
           late < 1.15 * early + 10 and rows == pairs)


def main(parts):
    missed = 0
    print("| what | measured | target | |\n|---|---|---|---|")
    for part in parts or ["speed", "kills", "spoilt", "memory"]:
        with tempfile.TemporaryDirectory() as work:
            for what, measured, target, reached in globals()[part](pathlib.Path(work)):
                missed += not reached
                print(f"| {what} | {measured} | {target} | {'reached' if reached else 'missed'} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
