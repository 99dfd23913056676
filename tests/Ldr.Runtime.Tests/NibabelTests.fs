/// Against nibabel, run as a process: it writes and we read, we write and it reads.
module Ldr.Runtime.Tests.NibabelTests

open System
open System.Globalization
open System.IO
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers

let private number (text: string) =
    Double.Parse(text, CultureInfo.InvariantCulture)

/// Each line of the output is a name and numbers.
let private table (output: string) =
    output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
    |> Array.map (fun line ->
        let words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries)
        words[0], Array.tail words)
    |> dict

/// Makes files of many kinds, and prints for each its first row of the affine … and all values as nibabel reads them.
let private makeFiles =
    """
import sys, numpy as np, nibabel as nib
folder = sys.argv[1]
rng = np.random.default_rng(7)
c, s = np.cos(0.3), np.sin(0.3)
oblique = np.array([[1.5*c, -2*s, 0, -40], [1.5*s, 2*c, 0, 25], [0, 0, -0.7, 13], [0, 0, 0, 1]])
def show(name):
    image = nib.load(folder + '/' + name)
    print(name + ':affine', *np.asarray(image.affine)[:3].ravel().astype(str))
    print(name + ':values', *np.asarray(image.get_fdata()).ravel(order='F').astype(str))
    print(name + ':axes', *nib.aff2axcodes(image.affine))
for kind in ['u1', 'i1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f4', 'f8']:
    for order in '<>':
        for cls, label in ((nib.Nifti1Header, '1'), (nib.Nifti2Header, '2')):
            for ext in ('.nii', '.nii.gz'):
                low = 0 if kind[0] == 'u' else -100
                data = rng.integers(low, 100, (3, 4, 5)).astype(kind)
                header = cls(endianness=order)
                header.set_data_dtype(kind)
                image = (nib.Nifti1Image if label == '1' else nib.Nifti2Image)(data, oblique, header)
                big = {'<': 'le', '>': 'be'}[order]
                name = f'{kind}-{big}-{label}{ext}'
                nib.save(image, folder + '/' + name)
                show(name)
# Scaled integers: nibabel chooses slope and intercept.
image = nib.Nifti1Image(rng.normal(size=(3, 4, 5)) * 1000, oblique)
image.set_data_dtype(np.int16)
nib.save(image, folder + '/scaled.nii.gz')
show('scaled.nii.gz')
# A qform only.
image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), None)
image.set_qform(oblique, 1)
nib.save(image, folder + '/qform.nii')
show('qform.nii')
"""

/// Reads files, and prints what nibabel finds.
let private readFiles =
    """
import sys, numpy as np, nibabel as nib
for path in sys.argv[1:]:
    image = nib.load(path)
    name = path.split('/')[-1]
    header = image.header
    print(name + ':affine', *np.asarray(image.affine)[:3].ravel().astype(str))
    print(name + ':values', *np.asarray(image.get_fdata()).ravel(order='F').astype(str))
    print(name + ':qform', *header.get_qform()[:3].ravel().astype(str))
    print(name + ':codes', header['qform_code'], header['sform_code'], header['intent_code'])
    print(name + ':shape', *image.shape)
    print(name + ':type', header.get_data_dtype().str, *header.get_xyzt_units()[:1])
"""

let private closeTo tolerance (expected: float[]) (found: float[]) what =
    Expect.equal found.Length expected.Length $"{what}: how many"

    for a, b in Array.zip expected found do
        Expect.isLessThan (abs (a - b)) (tolerance * (1. + abs a)) what

let tests =
    testList
        "nibabel"
        [
            testInFolder "we read what nibabel writes"
            <| fun folder ->
                let found = table (python makeFiles [ folder ])
                let files = Directory.GetFiles folder |> Array.map Path.GetFileName
                Expect.hasLength files 82 "10 types, 2 byte orders, 2 versions, 2 names, and 2 more"

                for name in files do
                    let volume = Nifti.Read(folder </> name)
                    let values = found[name + ":values"] |> Array.map number
                    closeTo 1e-6 values (Array.map float volume.Values) $"{name}: values"
                    let rows = found[name + ":affine"] |> Array.map number
                    closeTo 1e-5 rows (volume.Grid.VoxelToWorld.ToRows()) $"{name}: affine"

                    Expect.equal
                        volume.Grid.Orientation
                        (String.concat "" found[name + ":axes"])
                        $"{name}: axes"

                    let big = name.Contains "-be-" && not (name.StartsWith "u1" || name.StartsWith "i1")
                    let header = Nifti.ReadHeader(folder </> name)

                    if big then
                        Expect.isTrue header.BigEndian $"{name}: byte order"

                let scaled = Nifti.ReadHeader(folder </> "scaled.nii.gz")
                Expect.isTrue scaled.IsScaled "nibabel chose a slope"
                Expect.equal (Nifti.ReadHeader(folder </> "qform.nii")).AffineSource "qform" "no sform"

            testCase "orientation codes agree, sheared axes included"
            <| fun () ->
                let random = Random 6

                // Which axis chooses first where several are far from any direction differs between nibabel's
                // versions: each axis here lies nearer to one direction than to the others.
                let maps =
                    List.init 400 (fun _ ->
                        let axes = [| 0; 1; 2 |]
                        random.Shuffle axes
                        let signs = Array.init 3 (fun _ -> float (2 * random.Next 2 - 1))

                        Array.init 12 (fun i ->
                            let main =
                                if i % 4 < 3 && axes[i % 4] = i / 4 then
                                    signs[i / 4]
                                else
                                    0.

                            3. * main + 2.4 * (random.NextDouble() - 0.5)))

                let text =
                    maps
                    |> List.map (fun rows ->
                        rows
                        |> Array.map (fun v -> v.ToString("R", CultureInfo.InvariantCulture))
                        |> String.concat " ")
                    |> String.concat ";"

                let output =
                    python
                        """
import sys, numpy as np, nibabel as nib
for rows in sys.argv[1].split(';'):
    affine = np.eye(4)
    affine[:3] = np.array(rows.split(), float).reshape(3, 4)
    print(''.join(nib.aff2axcodes(affine)))
"""
                        [ text ]

                let codes = output.Split('\n', StringSplitOptions.RemoveEmptyEntries)

                for rows, code in Seq.zip maps codes do
                    let grid = Grid(1, 1, 1, Affine.FromRows rows)
                    Expect.equal grid.Orientation code $"{grid.VoxelToWorld}"

            testInFolder "nibabel reads what we write"
            <| fun folder ->
                let random = Random 3

                let cases =
                    [
                        for kind in Enum.GetValues<VoxelType>() do
                            if kind <> VoxelType.Float128 then
                                for extension in [ "nii"; "nii.gz" ] do
                                    let grid = Grid(3, 4, 5, obliqueAffine random (random.Next 2 = 0))
                                    let values = Array.init 60 (fun _ -> float32 (random.Next 100))
                                    let path = folder </> $"{kind}.{extension}"
                                    Nifti.Write(path, Volume(grid, values, kind))
                                    path, grid, values

                        let grid = Grid(2, 33000, 1, obliqueAffine random false)
                        let path = folder </> "second.nii.gz"
                        let values = Array.init 66000 (fun _ -> float32 (random.Next 100))
                        Nifti.Write(path, Volume(grid, values, VoxelType.UInt8))
                        path, grid, values
                    ]

                let found = table (python readFiles (cases |> List.map (fun (path, _, _) -> path)))

                for path, grid, values in cases do
                    let name = Path.GetFileName path

                    let numbers what =
                        found[$"{name}:{what}"] |> Array.map number

                    closeTo 1e-9 (Array.map float values) (numbers "values") $"{name}: values"
                    closeTo 1e-5 (grid.VoxelToWorld.ToRows()) (numbers "affine") $"{name}: sform"
                    closeTo 1e-4 (grid.VoxelToWorld.ToRows()) (numbers "qform") $"{name}: qform"
                    Expect.equal found[$"{name}:codes"] [| "1"; "1"; "0" |] $"{name}: codes"
                    Expect.equal (Array.last found[$"{name}:type"]) "mm" $"{name}: units"

                Expect.equal (Array.head found["Int16.nii:type"]) "<i2" "type"
                Expect.equal (Array.head found["UInt64.nii.gz:type"]) "<u8" "type"

            testInFolder "nibabel reads our field: millimetres, LPS"
            <| fun folder ->
                let random = Random 4
                let grid = Grid(3, 4, 5, obliqueAffine random true)
                let field = randomField random grid 2.
                let path = folder </> "field.nii.gz"
                Nifti.WriteField(path, field)
                let found = table (python readFiles [ path ])
                Expect.equal found["field.nii.gz:shape"] [| "3"; "4"; "5"; "1"; "3" |] "shape"
                Expect.equal found["field.nii.gz:codes"] [| "1"; "1"; "1007" |] "codes"
                let values = found["field.nii.gz:values"] |> Array.map number

                for i in 0..59 do
                    let at channel = float field.Vectors[channel * 60 + i]
                    let struct (x, y, z) = grid.VoxelToWorld.ApplyLinear(at 0, at 1, at 2)
                    closeTo 1e-5 [| -x; -y; z |] [| values[i]; values[60 + i]; values[120 + i] |] "vector"

            testInFolder "we read a field that nibabel writes, big endian"
            <| fun folder ->
                let path = folder </> "field.nii"

                python
                    """
import sys, numpy as np, nibabel as nib
header = nib.Nifti1Header(endianness='>')
header.set_data_dtype('f8')
data = np.zeros((2, 2, 2, 1, 3))
data[1, 0, 1, 0] = (-4, 6, 8)
image = nib.Nifti1Image(data, np.diag([2, 3, 4, 1]), header)
image.header['intent_code'] = 1007
nib.save(image, sys.argv[1])
"""
                    [ path ]
                |> ignore

                let field = Nifti.ReadField path
                let voxel = 1 + 2 * (0 + 2 * 1)

                Expect.equal
                    [ for c in 0..2 -> field.Vectors[8 * c + voxel] ]
                    [ 2f; -2f; 2f ]
                    "in voxels, RAS"

                Expect.equal (field.Vectors |> Array.filter ((<>) 0f) |> Array.length) 3 "one vector"
        ]
