"""Brains of IXI, 2 mm, and the brain of VoxelMorph, 1 mm: another scanner, another program that stripped the skull and named the
structures. Dice is that of the 23 structures which both name, most of them deep.

  benchmarks/source/run [--pairs 20] [--model brain ...]

Each --model is a name or a file, with options of `evaluate` after it in the same word: --model "brain --refine 10" --model none.
Prints a table. Needs Python 3 with nibabel and numpy.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import nibabel
import numpy

DATA = pathlib.Path(os.environ.get("LDR_DATA", "../shared/data")).resolve()

# A structure, its numbers in FreeSurfer's map and in DLMUSE's: left, right.
STRUCTURES = [
    ("third ventricle", 14, 4), ("fourth ventricle", 15, 11), ("brain stem", 16, 35),
    ("lateral ventricle", 4, 52), ("lateral ventricle", 43, 51),
    ("cerebellar white matter", 7, 41), ("cerebellar white matter", 46, 40),
    ("cerebellar cortex", 8, 39), ("cerebellar cortex", 47, 38),
    ("thalamus", 10, 60), ("thalamus", 49, 59), ("caudate", 11, 37), ("caudate", 50, 36),
    ("putamen", 12, 58), ("putamen", 51, 57), ("pallidum", 13, 56), ("pallidum", 52, 55),
    ("hippocampus", 17, 48), ("hippocampus", 53, 47), ("amygdala", 18, 32), ("amygdala", 54, 31),
    ("ventral diencephalon", 28, 62), ("ventral diencephalon", 60, 61),
]


def common(labels, column, output):
    """Writes a label map that numbers STRUCTURES from 1; everything else is 0."""
    image = nibabel.load(labels)
    found = numpy.asarray(image.dataobj)
    numbers = numpy.zeros(found.shape, numpy.uint8)
    for number, structure in enumerate(STRUCTURES, 1):
        numbers[found == structure[column]] = number
    nibabel.save(nibabel.Nifti1Image(numbers, image.affine), output)


def test_people():
    """The people whom the shipped model did not learn from."""
    shown = subprocess.run(["./ldr-fs", "inspect", "brain", "--json"], capture_output=True, text=True, check=True)
    return json.loads(shown.stdout)["test"]


def write_pairs(folder, people):
    """A table of pairs, each person's scan (moving) with the 1 mm brain (fixed)."""
    fixed = DATA / "Brain_VoxelMorph"
    common(fixed / "seg.nii.gz", 1, folder / "fixed.nii.gz")
    lines = ["fixed,moving,fixed_labels,moving_labels,part"]
    for person in people:
        common(DATA / f"Brain_IXI/labelsTr/{person}.nii.gz", 2, folder / f"{person}.nii.gz")
        scan = DATA / f"Brain_IXI/imagesTr/{person}.nii.gz"
        lines.append(f"{fixed / 'scan.nii.gz'},{scan},fixed.nii.gz,{person}.nii.gz,test")
    table = folder / "pairs.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def evaluate(model, table):
    name, *options = model.split()
    command = ["./ldr-fs", "evaluate", "--model", name, "--data", str(table), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--model", action="append")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        table = write_pairs(pathlib.Path(folder), test_people()[:chosen.pairs])
        print("| | Dice | J out (%) | ms a pair |\n|---|--:|--:|--:|")
        for model in chosen.model or ["brain", "brain --refine 10", "none"]:
            summary = evaluate(model, table)
            print(f"| {model} | {summary['dice']:.3f} ± {summary['dice_sd']:.3f} | {summary['extreme_label_percent']:.2f} "
                  f"| {summary['milliseconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
