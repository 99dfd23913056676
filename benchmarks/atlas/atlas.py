"""Targets of templates and atlases: time, Dice, mean deformation, sharpness. See `run` beside this file."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

DATA = pathlib.Path(os.environ.get("LDR_DATA", "../shared/data")).resolve()
BRAINS = sorted((DATA / "Brain_IXI/imagesTr").glob("*.nii.gz"))
PROGRAM = ["dotnet", "src/Ldr.Cli/bin/Release/net10.0/ldr-fs.dll"]


def number(name, default):
    return int(os.environ.get("LDR_ATLAS_" + name, default))


def labels(scan):
    return DATA / "Brain_IXI/labelsTr" / scan.name


def name(scan):
    return scan.name.removesuffix(".nii.gz")


def run(*arguments):
    """The JSON of a verb, and its seconds."""
    start = time.time()
    done = subprocess.run([*PROGRAM, *map(str, arguments), "--json"], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    return json.loads(done.stdout), time.time() - start


def dice(found, truth):
    return run("overlap", found, truth)[0]["dice"]


def table(file, scans):
    file.write_text("scan,labels\n" + "".join(f"{scan},{labels(scan)}\n" for scan in scans))
    return file


def template(work):
    scans, rounds = BRAINS[:number("SCANS", 40)], number("ROUNDS", 4)
    output = work / "template"
    made, seconds = run("template", table(work / "scans.csv", scans), "--rounds", rounds, "--output", output)
    yield f"template of {len(scans)} brains, {rounds} rounds", f"{seconds:.0f} s", "under 360 s", seconds < 360
    last = made["last_mean_deformation_mm"]
    yield "mean deformation of the last round", f"{last:.3f} mm", "under 0.1 mm", last < 0.1
    affine = made["rounds"][0]["sharpness"]
    yield "sharpness, affine average and template", f"{affine:.4f} and {made['sharpness']:.4f} /mm", "sharper", made["sharpness"] > affine
    through, pairwise = [], []
    for i in range(number("PAIRS", 20)):
        fixed, moving = scans[i], scans[(i + 7) % len(scans)]
        run("apply", "--transform", output / "scans" / name(moving) / "transform.nii.gz", "--transform",
            output / "scans" / name(fixed) / "inverse.nii.gz", "--moving", labels(moving), "--reference", fixed,
            "--output", work / "through.nii.gz", "--interpolation", "nearest")
        run("register", "--fixed", fixed, "--moving", moving, "--model", "none", "--labels", labels(moving),
            "--moved-labels", work / "pairwise.nii.gz")
        through.append(dice(work / "through.nii.gz", labels(fixed)))
        pairwise.append(dice(work / "pairwise.nii.gz", labels(fixed)))
    a, b = sum(through) / len(through), sum(pairwise) / len(pairwise)
    yield f"Dice of {len(through)} pairs, through the template and pairwise", f"{a:.3f} and {b:.3f}", "at most 0.01 less", a >= b - 0.01


def segment(work):
    atlases, targets = BRAINS[:10], BRAINS[100 + number("FIRST", 0):][:number("TARGETS", 20)]
    source = table(work / "atlases.csv", atlases)
    singles, fused, times = [], {"majority": [], "weighted": [], "joint": []}, []
    for done, target in enumerate(targets):
        for fusion, found in fused.items():
            _, seconds = run("segment", "--atlases", source, "--target", target, "--fusion", fusion, "--output", work / "l.nii.gz")
            found.append(dice(work / "l.nii.gz", labels(target)))
            times += [seconds] if fusion == "joint" else []
        for atlas in atlases:
            run("register", "--fixed", target, "--moving", atlas, "--model", "none", "--labels", labels(atlas),
                "--moved-labels", work / "l.nii.gz")
            singles.append(dice(work / "l.nii.gz", labels(target)))
        own = singles[-len(atlases):]
        print(f"{done + 1} of {len(targets)}, {name(target)}: single {sum(own) / len(own):.3f}, best {max(own):.3f}, "
              + ", ".join(f"{fusion} {found[-1]:.3f}" for fusion, found in fused.items()) + f", {times[-1]:.1f} s",
              file=sys.stderr, flush=True)
    single = sum(singles) / len(singles)
    means = {fusion: sum(found) / len(found) for fusion, found in fused.items()}
    what = f"Dice of {len(targets)} brains by 10 atlases"
    yield f"{what}: joint, and the mean single atlas", f"{means['joint']:.3f} and {single:.3f}", "0.06 more", means["joint"] >= single + 0.06
    yield (f"{what}: majority, weighted, joint", ", ".join(f"{mean:.3f}" for mean in means.values()), "joint above majority",
           means["joint"] > means["majority"])
    worst = max(times)
    yield "a brain with 10 atlases, the slowest", f"{worst:.1f} s", "under 30 s", worst < 30


def main(parts):
    missed = 0
    print("| what | measured | target | |\n|---|---|---|---|")
    for part in parts or ["template", "segment"]:
        with tempfile.TemporaryDirectory() as work:
            for what, measured, target, reached in globals()[part](pathlib.Path(work)):
                missed += not reached
                print(f"| {what} | {measured} | {target} | {'reached' if reached else 'missed'} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
