"""Tables of docs/lab/truth.md: what the shipped models and registration without a model reach, and how their verdicts do.
`--pages` writes the pages from what is kept, and measures nothing.

Each row is measured by `ldr-fs evaluate`; what was measured is kept in docs/lab/truth/, so that a row can be made again by itself."""
import json
import os
import pathlib
import subprocess
import sys

DATA = os.environ.get("LDR_DATA", "../shared/data")
KEPT = pathlib.Path("docs/lab/truth")
PAGE = pathlib.Path("docs/lab/truth.md")
VERDICT = pathlib.Path("docs/reference/verdict.md")
START, END = "<!-- tables: made by benchmarks/truth/run -->", "<!-- end of the tables -->"

HIPPOCAMPUS = ("experiments/hippocampus.json", [
    "CT_torso/example_ct.nii.gz", "Templates/ch2.nii.gz", "Brain_IXI/imagesTr/IXI012-HH-1211.nii.gz"])
BRAIN = ("experiments/brain-known.json", [
    "CT_torso/example_ct.nii.gz", "Lung_CT/3DCT_lung_baseline.mha", "Task04_Hippocampus/imagesTr/hippocampus_003.nii.gz"])

# Pairs whose figures a test measures again.
SAMPLE = 10

# name, model, further options, data, pairs that are scored, pairs that are tried for the verdict (0: not tried)
ROWS = [
    ("hippocampus", "hippocampus", [], HIPPOCAMPUS, 200, 40),
    ("hippocampus, refined", "hippocampus", ["--refine", "40"], HIPPOCAMPUS, 40, 0),
    ("hippocampus-labels", "hippocampus-labels", [], HIPPOCAMPUS, 60, 16),
    ("hippocampus-labels, refined", "hippocampus-labels", ["--refine", "40"], HIPPOCAMPUS, 40, 0),
    ("hippocampus, no model", "none", [], HIPPOCAMPUS, 40, 10),
    ("brain", "brain", [], BRAIN, 20, 8),
    ("brain, refined", "brain", ["--refine", "10"], BRAIN, 10, 0),
    ("brain, no model", "none", [], BRAIN, 10, 5),
]


def evaluate(model, options, data, pairs, output):
    """The JSON that `evaluate` prints; its files go to a folder."""
    command = ["./ldr-fs", "evaluate", "--model", model, "--data", data, "--split", "test",
               "--pairs", str(pairs), "--output", str(output), "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def try_verdict(model, options, data, tried, folder):
    experiment, others = data
    wrong = [word for other in others for word in ("--other", f"{DATA}/{other}")]
    evaluate(model, [*options, "--verdict", *wrong], experiment, tried, folder)
    (folder / "verdict.csv").unlink()


def measure(name, model, options, data, pairs, tried):
    folder = KEPT / name.replace(", ", "-").replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    experiment, _ = data
    evaluate(model, [*options, "--known-field", "--inverse"], experiment, pairs, folder)
    for made in ("scores.csv", "report.html"):
        (folder / made).unlink()
    if tried:
        try_verdict(model, options, data, tried, folder)
    print(f"{name}: measured", file=sys.stderr)


def cell(value, digits):
    return "–" if value is None else f"{value:.{digits}f}"


def measures(rows):
    head = ("| | pairs | Dice | HD95 (mm) | carried surface (mm) | J outside ⅓ to 3, in labels (%) | median J off the volumes' ratio (%) "
            "| folded (%) | SD log J | there and back (mm) | known field (mm), of | ms a pair |")
    lines = [head, "|---|" + "--:|" * 11]
    for name, summary in rows:
        known = f"{cell(summary['known_field_mm'], 2)} of {cell(summary['known_field_before_mm'], 2)}"
        lines.append(
            f"| {name} | {summary['pairs']} | {cell(summary['dice'], 3)} ± {cell(summary['dice_sd'], 3)} | {cell(summary['hd95_mm'], 2)} "
            f"| {cell(summary['carried95_mm'], 2)} | {cell(summary['extreme_label_percent'], 2)} | {cell(summary['volume_error_percent'], 0)} "
            f"| {cell(summary['folded_percent'], 3)} | {cell(summary['sdlogj'], 3)} | {cell(summary['inverse_mm'], 2)} | {known} "
            f"| {cell(summary['milliseconds'], 0)} |")
    return "\n".join(lines)


def verdicts(rows):
    lines = ["| | good pairs `ok` | a scan and itself `ok` | wrong pairs `ok` | mirrored left to right `ok` |", "|---|--:|--:|--:|--:|"]
    for name, rates in rows:
        def rate(key):
            return f"{rates[key + '_ok']} of {rates[key + '_pairs']}"
        lines.append(f"| {name} | {rate('good')} | {rate('self')} | {rate('wrong')} | {rate('mirrored')} |")
    return "\n".join(lines)


def insert(page, start, end, made):
    """Writes what was made between two comments of a page."""
    before, rest = page.read_text().split(start)
    page.write_text(f"{before}{start}\n\n{made.strip()}\n\n{end}" + rest.split(end)[1])


def main():
    wanted = sys.argv[1:]
    if wanted[:1] in (["--verdict-only"], ["--sample"]):
        # For benchmarks/truth/ship: one part of a row, into another folder.
        what, name, folder = wanted
        _, model, options, data, _, tried = next(row for row in ROWS if row[0] == name)
        if what == "--sample":
            evaluate(model, [*options, "--known-field"], data[0], SAMPLE, folder)
        else:
            try_verdict(model, options, data, tried, pathlib.Path(folder))
        return
    if wanted == ["--pages"]:
        return write_pages()
    names = [row[0] for row in ROWS]
    for name in wanted:
        if name not in names:
            sys.exit(f"no row {name}; known: {', '.join(names)}")
    for row in ROWS:
        if not wanted or row[0] in wanted:
            measure(*row)
    write_pages()


def write_pages():
    """The tables of all rows that were measured."""
    folders = [(row[0], KEPT / row[0].replace(", ", "-").replace(" ", "-"), row[5]) for row in ROWS]
    summaries = [(name, json.loads((folder / "summary.json").read_text())) for name, folder, _ in folders if (folder / "summary.json").exists()]
    tried = [(name, folder) for name, folder, count in folders if count and (folder / "verdict.json").exists()]
    rates = verdicts([(name, json.loads((folder / "verdict.json").read_text())) for name, folder in tried])
    parts = ["## What they reach", "", measures(summaries), "", "## How often a verdict is `ok`", "",
             rates, ""]
    for name, folder in tried:
        parts += [f"### {name}, by kind of pair", "", (folder / "verdict.md").read_text().strip(), ""]
    insert(PAGE, START, END, "\n".join(parts))
    insert(VERDICT, "<!-- rates: made by benchmarks/truth/run -->", "<!-- end of the rates -->", rates)


if __name__ == "__main__":
    main()
