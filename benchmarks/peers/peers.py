#!/usr/bin/env python3
"""Times ldr-fs beside elastix, plastimatch and the VoxelMorph network in PyTorch: one pair, the same threads, whole processes.

  benchmarks/peers/run [--size 128] [--threads 2] [--rounds 3] [--write]

--write puts the table into docs/lab/performance.md, between its marks. Programs that are not installed are left out. Needs
Python 3 with nibabel and numpy; the VoxelMorph row needs torch for the same Python. Scans and the model's weights are made
here: only time is compared, not accuracy.
"""
import argparse, json, os, re, shlex, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from elastix import COMMON
LDR = ROOT / "src/Ldr.Cli/bin/Release/net10.0/ldr-fs.dll"
NATIVE = ROOT / "examples/nativeaot/bin/Release/net10.0/linux-x64/publish/ldr-register"

ELASTIX = COMMON + """(FixedImageDimension 3)
(MovingImageDimension 3)
(Transform "BSplineTransform")
(Metric "AdvancedNormalizedCorrelation")
(FinalGridSpacingInVoxels 8)
(NumberOfResolutions 3)
(MaximumNumberOfIterations 500)
(NumberOfSpatialSamples 4096)
(FinalBSplineInterpolationOrder 1)
"""

PLASTIMATCH = """[GLOBAL]
fixed={fixed}
moving={moving}
image_out={moved}
vf_out={field}
[STAGE]
xform=bspline
optim=lbfgsb
impl=plastimatch
metric=mse
max_its=50
grid_spac=32 32 32
res=4 4 4
[STAGE]
max_its=50
grid_spac=16 16 16
res=2 2 2
[STAGE]
max_its=30
grid_spac=8 8 8
res=1 1 1
"""

# The VoxelMorph U-Net (encoder 16-32-32-32, decoder 32-32-32-32-32-16-16, flow) and its warp, random weights: time only.
VOXELMORPH = """
import sys, time, numpy as np, nibabel as nib, torch, torch.nn as nn, torch.nn.functional as F
torch.set_num_threads(int(sys.argv[5]))
def conv(i, o, s=1): return nn.Sequential(nn.Conv3d(i, o, 3, s, 1), nn.LeakyReLU(0.2))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.e = nn.ModuleList([conv(2, 16, 2), conv(16, 32, 2), conv(32, 32, 2), conv(32, 32, 2)])
        self.d = nn.ModuleList([conv(32, 32), conv(64, 32), conv(64, 32), conv(48, 32)])
        self.r = nn.Sequential(conv(34, 32), conv(32, 16), conv(16, 16), nn.Conv3d(16, 3, 3, 1, 1))
    def forward(self, x):
        skips = [x]
        for layer in self.e: skips.append(layer(skips[-1]))
        y = skips.pop()
        for layer in self.d:
            y = F.interpolate(layer(y), scale_factor=2)
            y = torch.cat([y, skips.pop()], 1)
        return self.r(y)
with torch.no_grad():
    image = lambda p: torch.from_numpy(nib.load(p).get_fdata(dtype=np.float32).T.copy())[None, None]
    f, m = image(sys.argv[1]), image(sys.argv[2])
    net = Net().eval()
    def run():
        u = net(torch.cat([f, m], 1))
        axes = [torch.linspace(-1, 1, n) for n in f.shape[2:]]
        base = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)[None]
        size = torch.tensor(f.shape[2:][::-1], dtype=torch.float32)
        grid = base + u.permute(0, 2, 3, 4, 1) * (2 / (size - 1))
        return u, F.grid_sample(m, grid, mode="bilinear", padding_mode="border", align_corners=True)
    times = []
    for _ in range(int(sys.argv[6])):
        start = time.perf_counter(); u, w = run(); times.append(time.perf_counter() - start)
    nib.save(nib.Nifti1Image(w[0, 0].numpy().T, np.eye(4)), sys.argv[3])
    nib.save(nib.Nifti1Image(u[0].numpy().T, np.eye(4)), sys.argv[4])
    print(sorted(times)[len(times) // 2])
"""


def run(command):
    """Seconds, peak memory in MB, and what it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode not in (0, 3):  # 3: the verdict on random weights
            sys.exit(f"{command[0]} failed: {(errors.read() or out.read()).strip()[-400:]}")
        return seconds, usage.ru_maxrss / 1000, out.read()


def scans(folder, n):
    import nibabel, numpy

    x, y, z = numpy.mgrid[0:n, 0:n, 0:n].astype(numpy.float32)

    def scan(name, phase):
        wave = numpy.sin(0.11 * x + 0.07 * y + phase) * numpy.cos(0.09 * z - 0.05 * y + phase)
        nibabel.save(nibabel.Nifti1Image((1000 * (0.5 + 0.4 * wave)).astype(numpy.int16), numpy.eye(4)), folder / name)

    scan("fixed.nii", 0.0)
    scan("moving.nii", 0.4)


def model(folder):
    """ldr 64-32-16 with random weights, as a safetensors file."""
    import numpy

    random = numpy.random.default_rng(1)
    encoder, decoder = [2, 16, 32, 64, 128], [64, 32, 16]
    tensors = {}
    for k in range(1, 5):
        i, o = encoder[k - 1], encoder[k]
        tensors[f"stage1.conv{k}.weight"] = random.uniform(-1, 1, (o, i, 4, 4, 4)) * (3 / (64 * i)) ** 0.5
        tensors[f"stage1.conv{k}.bias"] = numpy.zeros(o)
    for k in (3, 2, 1):
        i = encoder[4] if k == 3 else encoder[k + 1] + decoder[2 - k]
        tensors[f"stage1.deconv{k}.weight"] = random.uniform(-1, 1, (i, decoder[3 - k], 4, 4, 4)) * (3 / (8 * i)) ** 0.5
    tensors["stage1.flow.weight"] = random.normal(0, 0.3, (32, 3, 4, 4, 4))
    metadata = {
        "format": "ldr-model-1", "architecture": '{"kind":"ldr"}', "intensity": '{"percentiles":[0.5,99.5]}',
        "spacing": "[1,1,1]", "size": "[16,16,16]", "alignment": '"world"', "data": '"none"', "licence": '"MIT"',
        "train": "[]", "validation": "[]", "test": "[]", "ignored_labels": "[]", "steps": "0", "experiment": '""',
    }
    header, data = {"__metadata__": metadata}, b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=int, default=128)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--write", action="store_true", help="put the table into docs/lab/performance.md")
    o = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at = lambda file: str(folder / file)
        scans(folder, o.size)
        model(folder)
        outputs = [at("moved.nii"), at("field.nii")]

        def add(label, command, note, rounds=o.rounds):
            runs = [run(command) for _ in range(rounds)]
            rows.append((label, statistics.median(r[0] for r in runs), max(r[1] for r in runs), note))

        threads = str(o.threads)
        add("`ldr-fs register`",
            ["dotnet", str(LDR), "register", "--fixed", at("fixed.nii"), "--moving", at("moving.nii"), "--model",
             at("model.safetensors"), "--moved", outputs[0], "--transform", outputs[1], "--threads", threads],
            "ldr 64-32-16; moved scan, field and quality check", 5)
        if NATIVE.exists():
            add("`examples/nativeaot`", [str(NATIVE), at("model.safetensors"), at("fixed.nii"), at("moving.nii"), *outputs],
                f"the same network, moved scan and field; {NATIVE.stat().st_size / 1e6:.1f} MB program", 5)
            add("`examples/nativeaot`, moved scan only",
                [str(NATIVE), at("model.safetensors"), at("fixed.nii"), at("moving.nii"), outputs[0]], "", 5)
        if shutil.which("elastix"):
            (folder / "elastix.txt").write_text(ELASTIX)
            (folder / "out").mkdir()
            version = run(["elastix", "--version"])[2].split()[-1]
            optimise = ["elastix", "-f", at("fixed.nii"), "-m", at("moving.nii"), "-p", at("elastix.txt"), "-out", at("out"),
                        "-threads", threads]
            field = ["transformix", "-def", "all", "-tp", at("out/TransformParameters.0.txt"), "-out", at("out"),
                     "-threads", threads]
            note = f"{version}; B-spline, 3 levels × 500 iterations, NCC"
            add("elastix, moved scan only", optimise, note, 1)
            if shutil.which("transformix"):
                add("elastix and transformix", ["sh", "-c", '"$@" && exec ' + shlex.join(field), "sh", *optimise],
                    "the same; moved scan and field", 1)
        if shutil.which("plastimatch"):
            (folder / "plastimatch.txt").write_text(PLASTIMATCH.format(
                fixed=at("fixed.nii"), moving=at("moving.nii"), moved=outputs[0], field=at("field.mha")))
            version = run(["plastimatch", "--version"])[2].split()[-1]
            os.environ["OMP_NUM_THREADS"] = threads
            add("plastimatch", ["plastimatch", "register", at("plastimatch.txt")],
                f"{version}; B-spline, 3 levels × 50, 50, 30 iterations, MSE; moved scan and field", 1)
        if subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0:
            (folder / "voxelmorph.py").write_text(VOXELMORPH)
            command = [sys.executable, at("voxelmorph.py"), at("fixed.nii"), at("moving.nii"), *outputs, threads]
            text = run([*command, "3"])[2]
            version = run([sys.executable, "-c", "import torch; print(torch.__version__)"])[2].strip()
            add("VoxelMorph network in PyTorch", [*command, "1"],
                f"{version}; random weights; network + warp alone {float(text):.2f} s", 1)

    ours = rows[0][1]
    lines = [
        f"One pair of {o.size}³ voxels (16-bit `.nii`), {o.threads} threads, whole processes.",
        "",
        "| program | seconds | times ours | peak MB | |",
        "|---|--:|--:|--:|---|",
        *(f"| {label} | {seconds:.2f} | {seconds / ours:.1f} | {mb:.0f} | {note} |"
          for label, seconds, mb, note in rows),
    ]
    table = "\n".join(lines)
    print(table)
    if o.write:
        page = ROOT / "docs/lab/performance.md"
        text = page.read_text()
        page.write_text(re.sub(r"(<!-- peers -->\n).*?(\n<!-- /peers -->)", lambda m: m[1] + table + m[2], text, flags=re.S))


main()
