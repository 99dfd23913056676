/// MetaImage, NRRD, files of transforms and of points: round trips, other programs' files, hostile headers.
module Ldr.Runtime.Tests.FormatTests

open System
open System.IO
open System.IO.Compression
open System.Text
open Expecto
open Ldr
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.Fields

let private sameField tolerance (expected: DisplacementField) (found: DisplacementField) =
    Expect.isTrue (expected.Grid.SameAs(found.Grid, 1e-3)) "grid"

    let worst =
        Array.map2 (fun (a: float32) b -> abs (a - b)) expected.Vectors found.Vectors
        |> Array.max

    Expect.isLessThanOrEqual worst tolerance "voxels"

let private mha (extra: string) (data: byte[]) =
    Array.append
        (Encoding.ASCII.GetBytes(
            "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 3 4\nElementSpacing = 1 2 3\nOffset = 5 6 7\n"
            + extra
            + "ElementDataFile = LOCAL\n"
        ))
        data

let private nrrd (extra: string) (data: byte[]) =
    Array.append
        (Encoding.ASCII.GetBytes("NRRD0004\n# a comment\ndimension: 3\nsizes: 2 3 4\n" + extra + "\n"))
        data

let private shorts big =
    [| 0..23 |]
    |> Array.collect (fun i ->
        let bytes = BitConverter.GetBytes(int16 (i - 5))
        if big then Array.rev bytes else bytes)

let private expected = Array.init 24 (fun i -> float32 (i - 5))

let private packed (zlib: bool) (data: byte[]) =
    use into = new MemoryStream()

    (use stream: Stream =
        if zlib then
            new ZLibStream(into, CompressionMode.Compress, true)
        else
            new GZipStream(into, CompressionMode.Compress, true)

     stream.Write data)

    into.ToArray()

let private hostile (name: string) (bytes: byte[]) (words: string) (read: string -> unit) =
    testInFolder $"refused: {name}" (fun folder ->
        let path = folder </> name
        File.WriteAllBytes(path, bytes)
        refuses path words (fun () -> read path))

let private image path = ImageFile.Read path |> ignore
let private transform path = TransformFile.Read path |> ignore
let private text (s: string) = Encoding.ASCII.GetBytes s

let tests =
    testList
        "formats"
        [
            for ext in [ ".nii.gz"; ".mha"; ".mhd"; ".nrrd"; ".nhdr" ] do
                testSeeds $"{ext}: images and fields come back" 4 (fun random ->
                    inFolder
                        (fun folder ->
                            let grid = Grid(7, 6, 5, obliqueAffine random (random.Next 2 = 0))

                            let volume =
                                Volume(
                                    grid,
                                    Array.init 210 (fun _ -> float32 (random.Next(-900, 900))),
                                    VoxelType.Int16
                                )

                            ImageFile.Write(folder </> "image" + ext, volume)
                            let again = ImageFile.Read(folder </> "image" + ext)
                            Expect.equal again.Values volume.Values "values"
                            Expect.equal again.StoredAs VoxelType.Int16 "type"
                            Expect.isTrue (again.Grid.SameAs(grid, 1e-3)) "grid"

                            let field = randomField random grid 3.0
                            TransformFile.WriteField(folder </> "field" + ext, field)

                            match TransformFile.Read(folder </> "field" + ext) with
                            | :? Transform.Dense as dense -> sameField 1e-4f field dense.Field
                            | other -> failtest $"{other}")
                        ())

            testInFolder "a field's .mhd leaves the voxels of other headers alone" (fun folder ->
                let raw = folder </> "scan.raw"
                File.WriteAllBytes(raw, [| 1uy; 2uy; 3uy |])
                let grid = Grid(7, 6, 5, Affine.Identity)
                TransformFile.WriteField(folder </> "scan.mhd", randomField (Random 1) grid 3.0)
                Expect.equal (File.ReadAllBytes raw) [| 1uy; 2uy; 3uy |] "as it was")

            testSeeds "Learn2Reg's fields come back exactly" 4 (fun random ->
                inFolder
                    (fun folder ->
                        let grid = Grid(7, 6, 5, obliqueAffine random true)
                        let field = randomField random grid 3.0
                        TransformFile.WriteField(folder </> "disp_0001_0002.nii.gz", field, voxels = true)

                        match TransformFile.Read(folder </> "disp_0001_0002.nii.gz") with
                        | :? Transform.Dense as dense -> sameField 0f field dense.Field
                        | other -> failtest $"{other}")
                    ())

            testSeeds "composite .h5, with today's and with old keys" 4 (fun random ->
                inFolder
                    (fun folder ->
                        let grid = Grid(7, 6, 5, obliqueAffine random true)
                        let field = smoothField random grid 3.0
                        let affine = worldMap random grid.Centre
                        let whole = Transform.Compose(Transform.Linear affine, Transform.Dense field)
                        let path = folder </> "list.h5"
                        TransformStore.write None false path whole

                        let check () =
                            match TransformStore.read None None path with
                            | :? Transform.Sequence as sequence ->
                                Expect.hasLength sequence.Parts 2 "parts"

                                Expect.isTrue
                                    ((sequence.Parts[0] :?> Transform.Linear).World.IsCloseTo(affine, 1e-9))
                                    "affine"

                                sameField 1e-4f field (sequence.Parts[1] :?> Transform.Dense).Field
                            | other -> failtest $"{other}"

                        check ()

                        python
                            """
import sys, h5py
with h5py.File(sys.argv[1], 'r+') as f:
    t = f['TransformGroup']
    print(*[t[k]['TransformType'][0].decode() for k in sorted(t)])
    for k in t:
        for new in ('TransformParameters', 'TransformFixedParameters'):
            if new in t[k]:
                t[k].move(new, new.replace('Transform', 'Tranform', 1))
"""
                            [ path ]
                        |> fun said ->
                            Expect.equal
                                (said.Trim())
                                "CompositeTransform_double_3_3 AffineTransform_double_3_3 DisplacementFieldTransform_float_3_3"
                                "h5py reads it"

                        check ())
                    ())

            testSeeds "affine maps as .txt, .tfm and .mat" 4 (fun random ->
                inFolder
                    (fun folder ->
                        let map = obliqueAffine random (random.Next 2 = 0)

                        for ext in [ ".txt"; ".tfm"; ".mat" ] do
                            let path = folder </> "affine" + ext
                            TransformFile.WriteAffine(path, map)

                            match TransformFile.Read path with
                            | :? Transform.Linear as linear ->
                                Expect.isTrue (linear.World.IsCloseTo(map, 1e-10)) ext
                            | other -> failtest $"{other}")
                    ())

            testInFolder "ITK's rigid classes are what their formulas say"
            <| fun folder ->
                let read (body: string) =
                    let path = folder </> "t.tfm"
                    File.WriteAllText(path, "#Insight Transform File V1.0\n#Transform 0\n" + body)
                    (TransformFile.Read path :?> Transform.Linear).World

                let close (a: Affine) (b: Affine) what =
                    Expect.isTrue (a.IsCloseTo(b, 1e-9)) what

                close
                    (read "Transform: TranslationTransform_double_3_3\nParameters: 1 2 3\nFixedParameters: \n")
                    (Affine.Translation(-1., -2., 3.))
                    "a translation in LPS"

                // A quarter turn about z through (10, 0, 0): in LPS (x, y) → (10 − y, x − 10).
                let quarter = Affine.FromRows(0., -1., 0., -10., 1., 0., 0., 10., 0., 0., 1., 0.)

                close
                    (read
                        $"Transform: Euler3DTransform_double_3_3\nParameters: 0 0 {Math.PI / 2.0} 0 0 0\nFixedParameters: 10 0 0\n")
                    quarter
                    "Euler"

                let s = sqrt 0.5

                close
                    (read
                        $"Transform: VersorRigid3DTransform_double_3_3\nParameters: 0 0 {s} 0 0 0\nFixedParameters: 10 0 0\n")
                    quarter
                    "versor"

                close
                    (read
                        "Transform: MatrixOffsetTransformBase_double_3_3\nParameters: 0 -1 0 1 0 0 0 0 1 0 0 0\nFixedParameters: 10 0 0\n")
                    quarter
                    "matrix"

            testInFolder "hand-made MetaImage and NRRD: byte orders, encodings, detached data"
            <| fun folder ->
                let check name (bytes: byte[]) =
                    let path = folder </> name
                    File.WriteAllBytes(path, bytes)
                    let volume = ImageFile.Read path
                    Expect.equal volume.Values expected name
                    volume

                for big in [ false; true ] do
                    let order = if big then "True" else "False"

                    let v =
                        check
                            "a.mha"
                            (mha $"ElementType = MET_SHORT\nElementByteOrderMSB = {order}\n" (shorts big))

                    Expect.isTrue
                        (v.Grid.VoxelToWorld.IsCloseTo(
                            Affine.FromRows(-1., 0., 0., -5., 0., -2., 0., -6., 0., 0., 3., 7.),
                            1e-9
                        ))
                        "LPS"

                    check
                        "b.mha"
                        (mha
                            $"ElementType = MET_SHORT\nCompressedData = True\nBinaryDataByteOrderMSB = {order}\n"
                            (packed true (shorts big)))
                    |> ignore

                    let endian = if big then "big" else "little"

                    for encoding, data in [ "raw", shorts big; "gzip", packed false (shorts big) ] do
                        let v =
                            check
                                "a.nrrd"
                                (nrrd
                                    $"type: int16\nendian: {endian}\nencoding: {encoding}\nspace: right-anterior-superior\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)\n"
                                    data)

                        Expect.isTrue
                            (v.Grid.VoxelToWorld.IsCloseTo(
                                Affine.FromRows(1., 0., 0., 5., 0., 2., 0., 6., 0., 0., 3., 7.),
                                1e-9
                            ))
                            "RAS"

                check
                    "c.nrrd"
                    (nrrd
                        "type: short\nencoding: ascii\nspacings: 1 2 3\n"
                        (expected |> Array.map string |> String.concat "\n" |> text))
                |> ignore

                File.WriteAllBytes(folder </> "d.raw", Array.append (text "skip") (shorts false))

                check
                    "d.nhdr"
                    (nrrd "type: short\nendian: little\nencoding: raw\nbyte skip: 4\ndata file: d.raw\n" [||])
                |> ignore

            hostile
                "short.mha"
                (mha "ElementType = MET_SHORT\n" (Array.take 40 (shorts false)))
                "truncated"
                image
            hostile
                "huge.mha"
                (text
                    "NDims = 3\nDimSize = 2000 1000 1000\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n")
                "truncated"
                image
            hostile
                "bomb.mha"
                (text
                    "NDims = 3\nDimSize = 1000 1000 1000\nCompressedData = True\nElementType = MET_FLOAT\nElementDataFile = LOCAL\nxxxx")
                "more than its"
                image
            hostile "type.mha" (mha "ElementType = MET_STRING\n" [||]) "MET_STRING" image
            hostile
                "sizes.mha"
                (text "NDims = 3\nDimSize = 2 -3 4\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n")
                "size of -3"
                image
            hostile
                "flat.mha"
                (mha "ElementType = MET_SHORT\nTransformMatrix = 1 0 0 1 0 0 0 0 1\n" (shorts false))
                "singular"
                image
            hostile
                "2d.mha"
                (text "NDims = 2\nDimSize = 2 3\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n")
                "2-D"
                image
            hostile "bzip.nrrd" (nrrd "type: short\nencoding: bzip2\n" [||]) "bzip2" image
            hostile
                "space.nrrd"
                (nrrd "type: short\nencoding: raw\nspace: scanner-xyz\n" [||])
                "scanner-xyz"
                image
            hostile
                "ras-field.nrrd"
                (text
                    "NRRD0005\ntype: float\ndimension: 4\nsizes: 3 1 1 1\nspace: right-anterior-superior\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\nendian: little\n\n0123456789ab")
                "left-posterior-superior"
                transform
            hostile "words.tfm" (text "hello") "no transform file" transform
            hostile
                "bspline.tfm"
                (text
                    "#Insight Transform File V1.0\nTransform: BSplineTransform_double_3_3\nParameters: 1\nFixedParameters: 1\n")
                "BSplineTransform"
                transform
            hostile
                "few.tfm"
                (text
                    "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: 1 2\nFixedParameters: 0 0 0\n")
                "12 are wanted"
                transform
            hostile
                "singular.tfm"
                (text
                    "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\nParameters: 1 0 0 1 0 0 0 0 1 0 0 0\nFixedParameters: 0 0 0\n")
                "singular"
                transform
            hostile
                "damaged.h5"
                (Array.append [| 0x89uy; 72uy; 68uy; 70uy; 13uy; 10uy; 26uy; 10uy |] (Array.zeroCreate 40))
                "HDF5"
                (fun path -> TransformStore.read None None path |> ignore)

            testInFolder "points: CSV, Slicer's .mrk.json and .fcsv keep what else they say"
            <| fun folder ->
                let grid =
                    Grid(10, 10, 10, Affine.FromRows(2., 0., 0., 1., 0., 2., 0., 2., 0., 0., 2., 3.))

                let check
                    name
                    (content: string)
                    frame
                    (first: struct (float * float * float))
                    (kept: string)
                    =
                    let path = folder </> name
                    File.WriteAllText(path, content)
                    let points = PointFile.Read path
                    Expect.equal points.Frame frame name
                    let world = points.ToWorld grid
                    Expect.isLessThan (distance world[0] first) 1e-9 "world"

                    let moved =
                        world |> Seq.map (fun struct (x, y, z) -> struct (x + 2., y, z)) |> Array.ofSeq

                    points.Write(path, moved, grid)
                    let again = PointFile.Read(path).ToWorld grid
                    Expect.isLessThan (distance again[0] moved[0]) 1e-5 "moved"
                    Expect.stringContains (File.ReadAllText path) kept "kept"

                check
                    "a.csv"
                    "name,x_lps,y_lps,z_lps\ncarina,1,2,3\n"
                    PointFrame.Lps
                    (struct (-1., -2., 3.))
                    "carina"

                check "b.csv" "# voxel\nx,y,z\n1,1,1\n" PointFrame.Voxel (struct (3., 4., 5.)) "# voxel"

                check
                    "c.fcsv"
                    "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = id,x,y,z\nF1,1,2,3,0,0,0,1,1,1,0,tip,,\n"
                    PointFrame.Lps
                    (struct (-1., -2., 3.))
                    "tip"

                check
                    "d.mrk.json"
                    """{"markups":[{"type":"Fiducial","coordinateSystem":"RAS","controlPoints":[{"id":"1","label":"tip","position":[1.0,2.0,3.0]}]}]}"""
                    PointFrame.Ras
                    (struct (1., 2., 3.))
                    "tip"

                // Under a name of another format they are written in that one, with their names.
                for name, ending, frame, wanted in
                    [
                        "a.csv", "fcsv", PointFrame.Lps, "# CoordinateSystem = LPS"
                        "a.csv", "fcsv", PointFrame.Lps, ",carina,"
                        "b.csv", "fcsv", PointFrame.Lps, ",P-1,"
                        "c.fcsv", "csv", PointFrame.Lps, "x_lps,y_lps,z_lps,label"
                        "d.mrk.json", "fcsv", PointFrame.Ras, "# CoordinateSystem = RAS"
                        "d.mrk.json", "csv", PointFrame.Ras, ",tip"
                    ] do
                    let other = folder </> $"other.{ending}"
                    let points = PointFile.Read(folder </> name)
                    let world = points.ToWorld grid
                    points.Write(other, world, grid)
                    let again = PointFile.Read other
                    Expect.equal again.Frame frame $"{name} as {ending}"
                    let there = again.ToWorld grid
                    Expect.isLessThan (distance there[0] world[0]) 1e-5 $"{name} as {ending}"
                    Expect.stringContains (File.ReadAllText other) wanted $"{name} as {ending}"

                let markups = folder </> "new.mrk.json"

                refuses markups ".fcsv" (fun () ->
                    (PointFile.Read(folder </> "a.csv")).Write(markups, [| struct (1., 2., 3.) |], grid))

                let silent = folder </> "silent.csv"
                File.WriteAllText(silent, "x,y,z\n1,2,3\n")
                refuses silent "does not say" (fun () -> PointFile.Read silent)
                Expect.equal (PointFile.Read(silent, PointFrame.Ras)).Frame PointFrame.Ras "told"
        ]
