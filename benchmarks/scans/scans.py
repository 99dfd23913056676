#!/usr/bin/env python3
"""`ldr-fs register --model none` beside elastix on the same real pairs: whole processes, accuracy and seconds.

  benchmarks/scans/run [--brains 20] [--elastix-brains 2] [--threads 2] [--iterations 500 2000]

Lung_CT: mean target registration error (mm) of its points, both with the lung masks. Brain_IXI: mean Dice over all regions
but 1, subjects 1-2, 3-4, …; elastix, which takes longer, does the first pairs only. elastix: affine by mutual information,
then a B-spline grid of 10 mm by normalised correlation, four levels each; --iterations: per level of the B-spline part.
The scans are those of LDR_DATA (default ../shared/data). Needs Python 3 with nibabel and numpy, elastix and transformix.
"""
import argparse, csv, os, subprocess, sys, tempfile, time
from pathlib import Path

import nibabel
import numpy

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from elastix import COMMON
LDR = ROOT / "src/Ldr.Cli/bin/Release/net10.0/ldr-fs.dll"
DATA = Path(os.environ.get("LDR_DATA") or ROOT.parent / "shared/data")

SHARED = COMMON + """(NumberOfResolutions 4)
(NumberOfSpatialSamples 2048)
(FinalBSplineInterpolationOrder 3)
(ErodeMask "false")
"""

AFFINE = SHARED + """(Transform "AffineTransform")
(Metric "AdvancedMattesMutualInformation")
(NumberOfHistogramBins 32)
(AutomaticScalesEstimation "true")
(AutomaticTransformInitialization "true")
(AutomaticTransformInitializationMethod "CenterOfGravity")
(MaximumNumberOfIterations 250)
"""

SPLINE = SHARED + """(Transform "BSplineTransform")
(Metric "AdvancedNormalizedCorrelation")
(FinalGridSpacingInPhysicalUnits 10)
(MaximumNumberOfIterations {iterations})
"""


def timed(command):
    begin = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)

    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    return time.perf_counter() - begin


def ldr(*arguments):
    return timed(["dotnet", LDR, *arguments])


def ours(folder, fixed, moving, masks, threads):
    """Seconds and the transform's file."""
    transform = folder / "ours.h5"
    given = ["--fixed-mask", masks[0], "--moving-mask", masks[1]] if masks else []
    seconds = ldr("register", "--model", "none", "--fixed", fixed, "--moving", moving, *given,
                  "--moved", folder / "ours.nii", "--transform", transform, "--threads", threads)
    return seconds, transform


def elastix(folder, fixed, moving, masks, threads, iterations):
    """Seconds and the transform's file."""
    out = folder / f"elastix{iterations}"
    out.mkdir()
    (folder / "affine.txt").write_text(AFFINE)
    (folder / "spline.txt").write_text(SPLINE.format(iterations=iterations))
    given = ["-fMask", masks[0], "-mMask", masks[1]] if masks else []
    seconds = timed(["elastix", "-f", fixed, "-m", moving, *given, "-out", out, "-threads", threads,
                     "-p", folder / "affine.txt", "-p", folder / "spline.txt"])
    return seconds, out / "TransformParameters.1.txt"


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def error_ours(folder, points, transform):
    """Mean distance, mm: points of the fixed scan, carried over, from those marked on the moving one."""
    start, end = folder / "fixed.csv", folder / "moved.csv"

    with open(start, "w", newline="") as file:
        file.write("x_lps,y_lps,z_lps\n")
        file.writelines(f"{p['fx']},{p['fy']},{p['fz']}\n" for p in points)

    ldr("apply-points", "--transform", transform, "--points", start, "--output", end)
    found = [[float(p[a]) for a in ("x_lps", "y_lps", "z_lps")] for p in rows(end)]
    return distance(found, points)


def error_elastix(folder, points, transform):
    start = folder / "fixed.pts"
    start.write_text(f"point\n{len(points)}\n" + "".join(f"{p['fx']} {p['fy']} {p['fz']}\n" for p in points))
    timed(["transformix", "-def", start, "-out", folder, "-tp", transform])
    found = []

    for line in (folder / "outputpoints.txt").read_text().splitlines():
        numbers = line.split("OutputPoint = [")[1].split("]")[0].split()
        found.append([float(n) for n in numbers])

    return distance(found, points)


def distance(found, points):
    wanted = numpy.array([[float(p[a]) for a in ("mx", "my", "mz")] for p in points])
    return float(numpy.linalg.norm(numpy.array(found) - wanted, axis=1).mean())


def dice(fixed, moved):
    a, b = (numpy.rint(nibabel.load(path).get_fdata()).astype(int) for path in (fixed, moved))
    scores = []

    for label in numpy.union1d(numpy.unique(a), numpy.unique(b)):
        if label > 1:
            left, right = a == label, b == label
            scores.append(2.0 * (left & right).sum() / (left.sum() + right.sum()))

    return float(numpy.mean(scores))


def dice_ours(folder, fixed_labels, moving_labels, transform):
    moved = folder / "labels.nii"
    ldr("apply", "--transform", transform, "--moving", moving_labels, "--reference", fixed_labels,
        "--output", moved, "--interpolation", "nearest")
    return dice(fixed_labels, moved)


def dice_elastix(folder, fixed_labels, moving_labels, transform):
    nearest = folder / "nearest.txt"
    text = transform.read_text().replace("(FinalBSplineInterpolationOrder 3)", "(FinalBSplineInterpolationOrder 0)")
    nearest.write_text(text)
    timed(["transformix", "-in", moving_labels, "-out", folder, "-tp", nearest])
    return dice(fixed_labels, folder / "result.nii")


def compare(what, unit, pairs, score_ours, score_elastix, options, few):
    results = {}

    for index, (fixed, moving, masks, truth) in enumerate(pairs):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)

            def add(row, measured, score):
                seconds, transform = measured
                results.setdefault(row, []).append((score(folder, *truth, transform), seconds))
                print(f"{what} {index + 1}: {row}: {unit} {results[row][-1][0]:.3f}, {seconds:.2f} s", file=sys.stderr)

            add("ldr-fs", ours(folder, fixed, moving, masks, options.threads), score_ours)

            if index < few:
                for iterations in options.iterations:
                    add(f"elastix, {iterations} iterations",
                        elastix(folder, fixed, moving, masks, options.threads, iterations), score_elastix)

    for row, found in results.items():
        scores, seconds = zip(*found)
        print(f"| {what} | {row} | {len(found)} | {numpy.mean(scores):.3f} | {numpy.mean(seconds):.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brains", type=int, default=20)
    parser.add_argument("--elastix-brains", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, nargs="+", default=[500, 2000])
    options = parser.parse_args()

    lung = DATA / "Lung_CT"
    points = rows(lung / "landmarks_valid51_lps_mm.csv")
    part = [lung / f"3DCT_lung_{name}.mha" for name in ("baseline", "followup", "baseline_mask", "followup_mask")]
    brains = sorted((DATA / "Brain_IXI/imagesTr").glob("*.nii.gz"))
    labels = [DATA / "Brain_IXI/labelsTr" / path.name for path in brains]

    print(f"| data | program | pairs | Dice, or error in mm | seconds a pair, {options.threads} threads |")
    print("|---|---|--:|--:|--:|")
    compare("lungs", "mm", [(part[0], part[1], part[2:], (points,))], error_ours, error_elastix, options, 1)
    compare("brains", "Dice",
            [(brains[2 * i], brains[2 * i + 1], None, (labels[2 * i], labels[2 * i + 1])) for i in range(options.brains)],
            dice_ours, dice_elastix, options, options.elastix_brains)


main()
