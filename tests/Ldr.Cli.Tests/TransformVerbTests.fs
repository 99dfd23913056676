/// The verbs on transforms as a process, and what plastimatch, transformix and scipy make of the same files.
module Ldr.Cli.Tests.TransformVerbTests

open System
open System.Globalization
open System.IO
open System.Text.Json.Nodes
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields
open Ldr.TestKit.Process

/// A smooth image: interpolation between voxels hardly matters less than the position.
let private smoothVolume (random: Random) (grid: Grid) =
    let a = Array.init 6 (fun _ -> 0.15 + 0.2 * random.NextDouble())

    Volume(
        grid,
        Array.init (int grid.Count) (fun i ->
            let x, y, z =
                float (i % grid.Nx), float (i / grid.Nx % grid.Ny), float (i / (grid.Nx * grid.Ny))

            float32 (
                100.0
                * (sin (a[0] * x + a[1] * y)
                   + cos (a[2] * y + a[3] * z)
                   + sin (a[4] * z + a[5] * x))
            ))
    )

/// An oblique, anisotropic, left-handed pair of different sizes that covers the same place, a field and an affine map.
let private scene folder seed =
    let random = Random(seed: int)
    let fixedGrid = Grid(30, 26, 22, obliqueAffine random (seed % 2 = 0))

    let movingGrid =
        let turned = obliqueAffine random (seed % 2 = 1)
        let struct (sx, sy, sz) = Grid(2, 2, 2, turned).Spacing
        let struct (fx, fy, fz) = fixedGrid.Spacing
        // As long as the fixed scan's diagonal along each axis.
        let reach = sqrt ((30.0 * fx) ** 2.0 + (26.0 * fy) ** 2.0 + (22.0 * fz) ** 2.0)

        let count step = int (Math.Ceiling(1.2 * reach / step))
        let nx, ny, nz = count sx, count sy, count sz
        let struct (cx, cy, cz) = Grid(nx, ny, nz, turned).Centre
        let struct (wx, wy, wz) = fixedGrid.Centre
        Grid(nx, ny, nz, turned.Then(Affine.Translation(wx - cx, wy - cy, wz - cz)))

    let moving = smoothVolume random movingGrid
    let field = gentleField random fixedGrid
    let affine = worldMap random fixedGrid.Centre
    ImageFile.Write(folder </> "fixed.nii.gz", smoothVolume random fixedGrid)
    ImageFile.Write(folder </> "moving.mha", moving)
    TransformFile.WriteField(folder </> "field.nii.gz", field)
    TransformFile.WriteField(folder </> "field.mha", field)
    TransformFile.WriteAffine(folder </> "affine.tfm", affine)
    moving, field, affine

let private good (outcome: Outcome) =
    Expect.equal outcome.Code 0 (outcome.Output + outcome.Errors)

let private needs program =
    if not (has program) then
        skiptest $"{program} is not installed"

/// Mean absolute difference away from the border, as a share of the range.
let private difference (ours: Volume) (theirs: Volume) =
    Expect.isTrue (ours.Grid.SameAs(theirs.Grid, 1e-2)) "one grid"
    let g = ours.Grid
    let struct (low, high) = ours.Range

    let away =
        [|
            for z in 4 .. g.Nz - 5 do
                for y in 4 .. g.Ny - 5 do
                    for x in 4 .. g.Nx - 5 do
                        abs (float ours[x, y, z] - float theirs[x, y, z])
        |]

    Array.average away / float (high - low)

let private ours folder (transforms: string list) name =
    ldr (
        [
            "apply"
            "--moving"
            folder </> "moving.mha"
            "--reference"
            folder </> "fixed.nii.gz"
            "--output"
            folder </> name
        ]
        @ (transforms |> List.collect (fun t -> [ "--transform"; t ]))
    )
    |> good

    ImageFile.Read(folder </> name)

/// What nibabel and scipy make of a field of ours: `field.nii.gz` (mm, LPS), and `disp.nii.gz` (voxels) where the moving image is
/// on the fixed grid, each linear and cubic. Files NAME-ORDER.raw, x fastest.
let private scipy =
    """
import sys, numpy as np, nibabel as nib
from scipy.ndimage import map_coordinates
folder = sys.argv[1]
fixed = nib.load(folder + '/fixed.nii.gz')
moving = nib.load(folder + '/moving.nii.gz')
data = np.asarray(moving.dataobj, dtype=np.float64)
index = np.stack(np.meshgrid(*[np.arange(n) for n in fixed.shape], indexing='ij'), -1).astype(float)
lps = np.asarray(nib.load(folder + '/field.nii.gz').dataobj, dtype=np.float64)[:, :, :, 0, :]
world = nib.affines.apply_affine(fixed.affine, index) + lps * [-1, -1, 1]
there = nib.affines.apply_affine(np.linalg.inv(moving.affine), world)
own = np.asarray(fixed.dataobj, dtype=np.float64)
voxels = index + np.asarray(nib.load(folder + '/disp.nii.gz').dataobj, dtype=np.float64)
for name, image, at in (('field', data, there), ('disp', own, voxels)):
    p = np.stack([np.clip(at[..., c], 0, image.shape[c] - 1) for c in range(3)])
    for order in (1, 3):
        out = map_coordinates(image, p, order=order, mode='mirror')
        out.astype('<f4').ravel(order='F').tofile(f'{folder}/{name}-{order}.raw')
# A field as Learn2Reg's participants write it: half and full precision, nx × ny × nz × 3.
given = np.zeros(fixed.shape + (3,))
given[3, 4, 5] = (1, -2, 0.5)
for kind in ('f4', 'f8'):
    nib.save(nib.Nifti1Image(given.astype(kind), fixed.affine), f'{folder}/disp_{kind}.nii.gz')
"""

let private plastimatch folder transform name =
    run
        "plastimatch"
        [
            "convert"
            "--input"
            folder </> "moving.mha"
            "--xf"
            transform
            "--fixed"
            folder </> "fixed.nii.gz"
            "--output-img"
            folder </> name
            "--output-type"
            "float"
        ]
    |> good

    ImageFile.Read(folder </> name)

/// A parameter file of transformix for a field, or for ITK's affine parameters.
let private transformix folder (lines: string list) (grid: Grid) (arguments: string list) =
    let lps = grid.VoxelToWorld.Then(Affine.Scaling(-1., -1., 1.))
    let struct (sx, sy, sz) = grid.Spacing
    let spacing = [| sx; sy; sz |]

    let show (numbers: float seq) =
        numbers
        |> Seq.map (fun v -> v.ToString("R", CultureInfo.InvariantCulture))
        |> String.concat " "

    let direction =
        [
            for column in 0..2 do
                for row in 0..2 do
                    lps[row, column] / spacing[column]
        ]

    File.WriteAllLines(
        folder </> "parameters.txt",
        lines
        @ [
            "(InitialTransformParametersFileName \"NoInitialTransform\")"
            "(HowToCombineTransforms \"Compose\")"
            "(FixedImageDimension 3)"
            "(MovingImageDimension 3)"
            "(FixedInternalImagePixelType \"float\")"
            "(MovingInternalImagePixelType \"float\")"
            $"(Size {grid.Nx} {grid.Ny} {grid.Nz})"
            "(Index 0 0 0)"
            $"(Spacing {show spacing})"
            $"(Origin {show [ lps[0, 3]; lps[1, 3]; lps[2, 3] ]})"
            $"(Direction {show direction})"
            "(UseDirectionCosines \"true\")"
            "(ResampleInterpolator \"FinalBSplineInterpolator\")"
            "(FinalBSplineInterpolationOrder 1)"
            "(Resampler \"DefaultResampler\")"
            "(DefaultPixelValue 0)"
            "(ResultImageFormat \"mha\")"
            "(ResultImagePixelType \"float\")"
            "(CompressResultImage \"false\")"
        ]
    )

    run
        "transformix"
        ([ "-out"; folder; "-tp"; folder </> "parameters.txt"; "-threads"; "1" ]
         @ arguments)
    |> good

let private fieldOf path =
    match TransformFile.Read path with
    | :? Transform.Dense as dense -> dense.Field
    | other -> failtest $"{other}"

let tests =
    testList
        "transform verbs"
        [
            for seed in [ 1; 2 ] do
                testInFolder $"plastimatch applies our field and our affine map alike ({seed})"
                <| fun folder ->
                    needs "plastimatch"
                    scene folder seed |> ignore
                    let one = ours folder [ folder </> "field.nii.gz" ] "ours.nii.gz"
                    let two = plastimatch folder (folder </> "field.nii.gz") "theirs.nii.gz"
                    Expect.isLessThan (difference one two) 0.001 "field"
                    let one = ours folder [ folder </> "affine.tfm" ] "ours.nrrd"
                    let two = plastimatch folder (folder </> "affine.tfm") "theirs.nrrd"
                    Expect.isLessThan (difference one two) 0.001 "affine"

                testInFolder $"transformix applies our field alike; its own field and points agree ({seed})"
                <| fun folder ->
                    needs "transformix"
                    let _, field, _ = scene folder seed

                    let points =
                        [
                            for i in 0..9 ->
                                field.Grid.VoxelToWorld.Apply(8. + float i, 7. + float i, 6. + float i)
                        ]

                    let show (v: float) =
                        v.ToString("R", CultureInfo.InvariantCulture)

                    File.WriteAllLines(
                        folder </> "points.txt",
                        [ "point"; string points.Length ]
                        @ [ for struct (x, y, z) in points -> $"{show -x} {show -y} {show z}" ]
                    )

                    transformix
                        folder
                        [
                            "(Transform \"DeformationFieldTransform\")"
                            "(NumberOfParameters 0)"
                            $"(DeformationFieldFileName \"{folder}/field.mha\")"
                            "(DeformationFieldInterpolationOrder 1)"
                        ]
                        field.Grid
                        [ "-in"; folder </> "moving.mha"; "-def"; folder </> "points.txt" ]

                    let one = ours folder [ folder </> "field.nii.gz" ] "ours.mha"
                    let two = ImageFile.Read(folder </> "result.mha")
                    Expect.isLessThan (difference one two) 0.001 "field"

                    let theirs =
                        File.ReadAllLines(folder </> "outputpoints.txt")
                        |> Array.filter (fun line -> line.StartsWith "Point")
                        |> Array.map (fun line ->
                            let at = line.IndexOf "OutputPoint = ["

                            line.Substring(at + 15).Split(']').[0].Trim().Split ' '
                            |> Array.map (fun w -> Double.Parse(w, CultureInfo.InvariantCulture)))

                    File.WriteAllLines(
                        folder </> "points.csv",
                        "x_ras,y_ras,z_ras"
                        :: [ for struct (x, y, z) in points -> $"{show x},{show y},{show z}" ]
                    )

                    ldr
                        [
                            "apply-points"
                            "--transform"
                            folder </> "field.nii.gz"
                            "--points"
                            folder </> "points.csv"
                            "--output"
                            folder </> "moved.csv"
                        ]
                    |> good

                    let found = PointFile.Read(folder </> "moved.csv").ToWorld(null)

                    for i in 0 .. points.Length - 1 do
                        let their = struct (-theirs[i].[0], -theirs[i].[1], theirs[i].[2])
                        Expect.isLessThan (distance found[i] their) 0.01 "mm"

                    // Back again.
                    ldr
                        [
                            "apply-points"
                            "--transform"
                            folder </> "field.nii.gz"
                            "--points"
                            folder </> "moved.csv"
                            "--output"
                            folder </> "back.csv"
                            "--direction"
                            "moving-to-fixed"
                        ]
                    |> good

                    let back = PointFile.Read(folder </> "back.csv").ToWorld(null)

                    for i in 0 .. points.Length - 1 do
                        Expect.isLessThan (distance back[i] points[i]) 0.01 "mm, back"

                testInFolder $"transformix's own field, imported, gives its own image ({seed})"
                <| fun folder ->
                    needs "transformix"
                    let _, field, affine = scene folder seed
                    let itk = ItkTransform.Of affine

                    let numbers =
                        itk.Parameters
                        |> Array.map (fun v -> v.ToString("R", CultureInfo.InvariantCulture))
                        |> String.concat " "

                    transformix
                        folder
                        [
                            "(Transform \"AffineTransform\")"
                            "(NumberOfParameters 12)"
                            $"(TransformParameters {numbers})"
                            "(CenterOfRotationPoint 0 0 0)"
                        ]
                        field.Grid
                        [ "-in"; folder </> "moving.mha"; "-def"; "all" ]

                    let theirs = ImageFile.Read(folder </> "result.mha")
                    let file = folder </> "deformationField.mha"
                    Expect.isLessThan (difference (ours folder [ file ] "a.nii") theirs) 0.001 "field"

                    Expect.isLessThan
                        (difference (ours folder [ folder </> "affine.tfm" ] "b.nii") theirs)
                        0.001
                        "affine"

            testInFolder "plastimatch's exported field, imported, gives its own image"
            <| fun folder ->
                needs "plastimatch"
                scene folder 3 |> ignore

                run
                    "plastimatch"
                    [
                        "convert"
                        "--input"
                        folder </> "moving.mha"
                        "--xf"
                        folder </> "affine.tfm"
                        "--fixed"
                        folder </> "fixed.nii.gz"
                        "--output-img"
                        folder </> "theirs.mha"
                        "--output-type"
                        "float"
                        "--output-vf"
                        folder </> "theirs-field.mha"
                    ]
                |> good

                let found = ours folder [ folder </> "theirs-field.mha" ] "ours.mha"
                Expect.isLessThan (difference found (ImageFile.Read(folder </> "theirs.mha"))) 0.001 "image"

            for seed in [ 6; 7 ] do
                testInFolder
                    $"nibabel and scipy apply our fields alike, linear and cubic, in both layouts ({seed})"
                <| fun folder ->
                    let moving, field, _ = scene folder seed
                    ImageFile.Write(folder </> "moving.nii.gz", moving)
                    let disp = folder </> "disp.nii.gz"

                    ldr [ "convert"; "-t"; folder </> "field.mha"; "-o"; disp; "--layout"; "learn2reg" ]
                    |> good

                    python scipy [ folder ] |> ignore

                    for name, moving in [ "field.nii.gz", "moving.nii.gz"; "disp.nii.gz", "fixed.nii.gz" ] do
                        for order, interpolation in [ 1, "linear"; 3, "cubic" ] do
                            ldr
                                [
                                    "apply"
                                    "-t"
                                    folder </> name
                                    "--moving"
                                    folder </> moving
                                    "--reference"
                                    folder </> "fixed.nii.gz"
                                    "-o"
                                    folder </> "ours.nii"
                                    "--interpolation"
                                    interpolation
                                ]
                            |> good

                            let short = name.Split('.')[0]
                            let bytes = File.ReadAllBytes(folder </> $"{short}-{order}.raw")

                            let theirs =
                                Volume(
                                    field.Grid,
                                    Array.init (int field.Grid.Count) (fun i ->
                                        BitConverter.ToSingle(bytes, 4 * i))
                                )

                            Expect.isLessThan
                                (difference (ImageFile.Read(folder </> "ours.nii")) theirs)
                                0.001
                                $"{name}, {interpolation}"

                    for kind in [ "f4"; "f8" ] do
                        let read = fieldOf (folder </> $"disp_{kind}.nii.gz")
                        let n, g = int read.Grid.Count, read.Grid
                        let at = 3 + g.Nx * (4 + g.Ny * 5)
                        Expect.equal [ for c in 0..2 -> read.Vectors[c * n + at] ] [ 1f; -2f; 0.5f ] kind
                        Expect.equal (read.Vectors |> Seq.filter ((<>) 0f) |> Seq.length) 3 "one vector"

            testInFolder "points of Slicer go through a transform and keep their names"
            <| fun folder ->
                // In RAS (1, 2, 3) → (11, 22, 33).
                TransformFile.WriteAffine(folder </> "shift.tfm", Affine.Translation(10., 20., 30.))

                let moved (name: string) (content: string) =
                    File.WriteAllText(folder </> name, content)

                    ldr
                        [
                            "apply-points"
                            "-t"
                            folder </> "shift.tfm"
                            "--points"
                            folder </> name
                            "-o"
                            folder </> $"moved-{name}"
                        ]
                    |> good

                    let path = folder </> $"moved-{name}"
                    Expect.stringContains (File.ReadAllText path) "carina" "its name"

                    Expect.isLessThan
                        (distance (PointFile.Read(path).ToWorld(null)[0]) (struct (11., 22., 33.)))
                        1e-5
                        name

                moved
                    "lps.fcsv"
                    "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\nF1,-1,-2,3,0,0,0,1,1,1,0,carina,,\n"

                // Slicer before 4.11 wrote 0 for RAS.
                moved
                    "ras.fcsv"
                    "# Markups fiducial file version = 4.6\n# CoordinateSystem = 0\n# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\nF1,1,2,3,0,0,0,1,1,1,0,carina,,\n"

                moved
                    "lps.mrk.json"
                    """{"@schema":"https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#","markups":[{"type":"Fiducial","coordinateSystem":"LPS","coordinateUnits":"mm","controlPoints":[{"id":"1","label":"carina","position":[-1.0,-2.0,3.0],"positionStatus":"defined"}]}]}"""

            testInFolder "a series needs --volume, and gets that volume"
            <| fun folder ->
                let random = Random 8
                let grid = gridOf 8 7 6
                let first, second = randomVolume random grid, randomVolume random grid
                ImageFile.Write(folder </> "fixed.nii", second)
                TransformFile.WriteAffine(folder </> "still.tfm", Affine.Identity)
                Nifti.Write(folder </> "series.nii", first)
                // The header of one volume, made one of two, and the second one's numbers.
                let bytes = File.ReadAllBytes(folder </> "series.nii")
                bytes[40] <- 4uy
                bytes[48] <- 2uy

                File.WriteAllBytes(
                    folder </> "series.nii",
                    Array.append bytes (second.Values |> Array.collect BitConverter.GetBytes)
                )

                let apply (more: string list) =
                    ldr (
                        [
                            "apply"
                            "-t"
                            folder </> "still.tfm"
                            "--moving"
                            folder </> "series.nii"
                            "--reference"
                            folder </> "fixed.nii"
                            "-o"
                            folder </> "out.nii"
                        ]
                        @ more
                    )

                for more, words in
                    [
                        [], "volume number"
                        [ "--volume"; "2" ], "volume 2"
                        [ "--volume"; "-1" ], "-1"
                    ] do
                    let outcome = apply more
                    Expect.equal outcome.Code 1 (outcome.Output + outcome.Errors)
                    Expect.stringContains outcome.Errors words "the line"
                    Expect.isFalse (File.Exists(folder </> "out.nii")) "nothing written"

                apply [ "--volume"; "1" ] |> good
                Expect.equal (ImageFile.Read(folder </> "out.nii")).Values second.Values "the second"

            testInFolder "a list, its composition, its formats and its inverse give one image"
            <| fun folder ->
                let moving, field, affine = scene folder 4
                let list = [ folder </> "affine.tfm"; folder </> "field.nii.gz" ]
                let named = list |> List.collect (fun t -> [ "--transform"; t ])
                let expected = ours folder list "expected.nii"

                let whole = Transform.Compose(Transform.Linear affine, Transform.Dense field)
                let direct = Resampler.Apply(moving, whole, expected.Grid, Interpolation.Linear)
                Expect.isLessThan (difference expected direct) 1e-4 "the library does the same"

                for name, tolerance in
                    [
                        "all.h5", 1e-4
                        "all.nii.gz", 1e-4
                        "all.mha", 1e-4
                        "all.nrrd", 1e-4
                        "disp_all.nii", 1e-4
                    ] do
                    let layout =
                        if name.StartsWith "disp" then
                            [ "--layout"; "learn2reg" ]
                        else
                            []

                    ldr ([ "compose" ] @ named @ layout @ [ "--output"; folder </> name ]) |> good
                    let found = ours folder [ folder </> name ] "found.nii"
                    Expect.isLessThan (difference expected found) tolerance name

                // There and back: the inverse of the list after the list is the identity.
                let inverted =
                    [
                        $"[{folder}/affine.tfm,inverse]"
                        folder </> "affine.tfm"
                        $"[{folder}/field.nii.gz,1]"
                        folder </> "field.nii.gz"
                    ]

                let found = ours folder inverted "back.nii"

                let plain =
                    Resampler.Apply(moving, Transform.Identity, found.Grid, Interpolation.Linear)

                Expect.isLessThan (difference plain found) 0.001 "[T,inverse]"

                let outcome =
                    ldr (
                        [ "invert"; "--json" ]
                        @ [
                            "--transform"
                            folder </> "field.nii.gz"
                            "--output"
                            folder </> "inverse.mha"
                        ]
                    )

                good outcome
                let said = (JsonNode.Parse outcome.Output |> nonNull).AsObject()
                let mean = (nonNull said["residual_mean_mm"]).GetValue<float>()
                Expect.isLessThan (mean / smallest field.Grid) 0.1 "voxels, on average"

                let outcome =
                    ldr
                        [
                            "jacobian"
                            "--transform"
                            folder </> "field.nii.gz"
                            "--output"
                            folder </> "jacobian.nii.gz"
                        ]

                good outcome
                let map = ImageFile.Read(folder </> "jacobian.nii.gz")
                let exact = Jacobian.Determinants(fieldOf (folder </> "field.nii.gz"))
                Expect.isLessThan (difference exact map) 1e-5 "Jacobian"

            testInFolder "labels keep their values; refusals are one line"
            <| fun folder ->
                let _, field, _ = scene folder 5
                let random = Random 5

                let labels =
                    Volume(
                        field.Grid,
                        Array.init (int field.Grid.Count) (fun _ -> float32 (7 * random.Next 3)),
                        VoxelType.UInt8
                    )

                ImageFile.Write(folder </> "labels.nii.gz", labels)

                for interpolation in [ "nearest"; "label" ] do
                    ldr
                        [
                            "apply"
                            "--transform"
                            folder </> "field.nii.gz"
                            "--moving"
                            folder </> "labels.nii.gz"
                            "--reference"
                            folder </> "fixed.nii.gz"
                            "--output"
                            folder </> "moved.nii.gz"
                            "--interpolation"
                            interpolation
                        ]
                    |> good

                    let moved = ImageFile.Read(folder </> "moved.nii.gz")
                    Expect.equal moved.StoredAs VoxelType.UInt8 "type"

                    Expect.equal
                        (moved.Values |> Array.distinct |> Array.sort)
                        [| 0f; 7f; 14f |]
                        interpolation

                let refused (words: string) code arguments =
                    let outcome = ldr arguments
                    Expect.equal outcome.Code code outcome.Errors
                    Expect.hasLength (outcome.Errors.TrimEnd('\n').Split '\n') 1 outcome.Errors
                    Expect.stringContains outcome.Errors words "the line"

                let field = folder </> "field.nii.gz"
                refused "affine map only" 1 [ "convert"; "-t"; field; "-o"; folder </> "x.tfm" ]
                refused "--reference" 1 [ "convert"; "-t"; folder </> "affine.tfm"; "-o"; folder </> "x.nii" ]
                refused "no name of a transform" 1 [ "invert"; "-t"; field; "-o"; folder </> "x.png" ]
                refused "[FILE,inverse]" 2 [ "invert"; "-t"; $"[{field},twice]"; "-o"; folder </> "x.nii" ]
                refused "--transform is missing" 2 [ "compose"; "-o"; folder </> "x.nii" ]
                refused "does not exist" 1 [ "convert"; "-t"; folder </> "no.h5"; "-o"; folder </> "x.nii" ]
        ]
