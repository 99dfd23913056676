module Ldr.Runtime.Tests.NiftiTests

open System
open System.IO
open Expecto
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers
open Ldr.TestKit.NiftiBytes

let private ramp = Array.init 24 (fun i -> float32 (i - 12))

/// Each type with numbers that it holds exactly.
let private types =
    [
        VoxelType.UInt8, [| 0f; 1f; 255f |]
        VoxelType.Int8, [| -128f; -1f; 127f |]
        VoxelType.Int16, [| -32768f; 5f; 32767f |]
        VoxelType.UInt16, [| 0f; 300f; 65535f |]
        VoxelType.Int32, [| -16777216f; 7f; 2147483520f |]
        VoxelType.UInt32, [| 0f; 16777216f; 4294967040f |]
        VoxelType.Int64, [| -9223372036854775808f; 3f; 1e12f |]
        VoxelType.UInt64, [| 0f; 9f; 18446742974197923840f |]
        VoxelType.Float32, [| -1.5f; Single.Epsilon; Single.MaxValue |]
        VoxelType.Float64, [| 0.1f; -infinityf; 1e-40f |]
        VoxelType.Float128, [| 0.1f; -Single.MaxValue; 1e-40f; -0f; infinityf; 1f; Single.Epsilon |]
    ]

let private roundTrips =
    [
        for kind, values in types do
            for name in [ "a.nii"; "a.nii.gz" ] do
                testInFolder $"{kind} survives {name}"
                <| fun folder ->
                    let path = folder </> name
                    let volume = Volume(gridOf values.Length 1 1, values, kind)
                    Nifti.Write(path, volume)
                    let back = Nifti.Read path
                    Expect.equal back.Values values "values"
                    Expect.equal back.StoredAs kind "type"
                    Expect.equal (Nifti.ReadHeader path).Compressed (name.EndsWith ".gz") "compression"

        testSeeds "volumes survive, oblique and left-handed ones too" 25 (fun random ->
            inFolder
                (fun folder ->
                    let grid =
                        Grid(
                            random.Next(1, 9),
                            random.Next(1, 9),
                            random.Next(1, 9),
                            obliqueAffine random (random.Next 2 = 0)
                        )

                    let volume = randomVolume random grid
                    let path = folder </> (if random.Next 2 = 0 then "a.nii" else "a.nii.gz")
                    Nifti.Write(path, volume)
                    let back, header = Nifti.Read path, Nifti.ReadHeader path
                    Expect.equal back.Values volume.Values "values"
                    Expect.isTrue (back.Grid.SameAs(grid, 1e-4)) "position, to single precision"
                    Expect.isEmpty header.Warnings "sform and qform agree"
                    Expect.equal (header.AffineSource, header.Version) ("sform", 1) "header")
                ())

        testSeeds "the qform alone gives the same position" 50 (fun random ->
            inFolder
                (fun folder ->
                    let grid = Grid(4, 5, 6, obliqueAffine random (random.Next 2 = 0))
                    let path = folder </> "a.nii"
                    Nifti.Write(path, Volume(grid, Array.zeroCreate 120))
                    let bytes = File.ReadAllBytes path
                    Expect.equal bytes[252] 1uy "qform_code is written"
                    bytes[254] <- 0uy
                    File.WriteAllBytes(path, bytes)
                    let header = Nifti.ReadHeader path
                    Expect.equal header.AffineSource "qform" "no sform is left"
                    Expect.isTrue (header.Grid.SameAs(grid, 1e-3)) "position, to single precision")
                ())

        testInFolder "sheared axes are written without a qform"
        <| fun folder ->
            let path = folder </> "a.nii"
            let shear = Affine.FromRows(1., 0.2, 0., 4., 0., 1., 0., 5., 0., 0., 1., 6.)
            Nifti.Write(path, Volume(Grid(2, 2, 2, shear), Array.zeroCreate 8))
            let bytes = File.ReadAllBytes path
            Expect.equal bytes[252] 0uy "qform_code"
            let header = Nifti.ReadHeader path
            Expect.isTrue (header.Grid.VoxelToWorld.IsCloseTo(shear, 1e-6)) "sform"
            Expect.isEmpty header.Warnings "warnings"

        testInFolder "a long axis takes NIfTI-2"
        <| fun folder ->
            let path = folder </> "a.nii.gz"
            let grid = Grid(40000, 1, 2, Affine.Translation(0.1, 0.2, 0.3))
            let values = Array.init 80000 float32
            Nifti.Write(path, Volume(grid, values))
            let back, header = Nifti.Read path, Nifti.ReadHeader path
            Expect.equal header.Version 2 "version"
            Expect.equal back.Values values "values"
            Expect.equal back.Grid grid "position, in double precision"

        testInFolder "integers are rounded and clamped"
        <| fun folder ->
            let path = folder </> "a.nii"
            let values = [| -3f; 0.4f; 0.6f; 254.6f; 300f; nanf; infinityf |]
            Nifti.Write(path, Volume(gridOf 7 1 1, values), VoxelType.UInt8)
            Expect.equal (Nifti.Read path).Values [| 0f; 0f; 1f; 255f; 255f; 0f; 255f |] "as uint8"

        testInFolder "a field survives, in voxels"
        <| fun folder ->
            let random = Random 5
            let grid = Grid(5, 6, 7, obliqueAffine random true)
            let field = randomField random grid 3.
            let path = folder </> "field.nii.gz"
            Nifti.WriteField(path, field)
            let back = Nifti.ReadField path
            Expect.isTrue (back.Grid.SameAs(grid, 1e-4)) "grid"

            for a, b in Array.zip field.Vectors back.Vectors do
                Expect.isLessThan (abs (a - b)) 1e-4f "vectors"

            Expect.isTrue (Nifti.ReadHeader path).IsField "header"

        testInFolder "on disk a field is in millimetres, LPS"
        <| fun folder ->
            let grid = Grid(1, 1, 1, Affine.Scaling(2., 3., 4.))
            let path = folder </> "field.nii"
            Nifti.WriteField(path, DisplacementField(grid, [| 1f; 10f; 100f |]))
            let bytes = File.ReadAllBytes path

            let dim i =
                int (BitConverter.ToInt16(bytes, 40 + 2 * i))

            Expect.equal (List.init 6 dim) [ 5; 1; 1; 1; 1; 3 ] "dim"
            Expect.equal (BitConverter.ToInt16(bytes, 68)) 1007s "intent"

            let number i =
                BitConverter.ToSingle(bytes, 352 + 4 * i)

            Expect.equal (List.init 3 number) [ -2f; -30f; 400f ] "vector"
    ]

let private reading =
    [
        for version in [ plain; second ] do
            for big in [ false; true ] do
                for packed in [ false; true ] do
                    testInFolder $"NIfTI-{version.Version}, big endian {big}, gzip {packed}"
                    <| fun folder ->
                        let path = save folder "a.nii" { version with Big = big }

                        if packed then
                            File.WriteAllBytes(path, gzip (File.ReadAllBytes path))

                        let header, volume = Nifti.ReadHeader path, Nifti.Read path
                        Expect.equal header.Version version.Version "version"
                        Expect.equal (header.BigEndian, header.Compressed) (big, packed) "byte order, gzip"
                        Expect.equal volume.Values ramp "values"
                        let map = Affine.FromRows(1., 0., 0., -10., 0., 2., 0., -20., 0., 0., 3., -30.)
                        Expect.equal volume.Grid (Grid(2, 3, 4, map)) "grid"
                        Expect.equal volume.StoredAs VoxelType.Int16 "type"
                        Expect.isEmpty header.Warnings "warnings"

        testInFolder "slope and intercept scale; the volume is no longer one of integers"
        <| fun folder ->
            let volume =
                Nifti.Read(
                    save
                        folder
                        "a.nii"
                        { plain with
                            Slope = 0.5
                            Intercept = 100
                        }
                )

            Expect.equal volume.Values (ramp |> Array.map (fun v -> 0.5f * v + 100f)) "values"
            Expect.equal volume.StoredAs VoxelType.Float32 "type"
            let header = Nifti.ReadHeader(folder </> "a.nii")

            Expect.equal
                (header.StoredAs, header.Slope, header.Intercept)
                (VoxelType.Int16, 0.5, 100.)
                "header"

        for slope in [ 0.; nan ] do
            testInFolder $"a slope of {slope} means none"
            <| fun folder ->
                let volume =
                    Nifti.Read(
                        save
                            folder
                            "a.nii"
                            { plain with
                                Slope = slope
                                Intercept = 100
                            }
                    )

                Expect.equal volume.Values ramp "values"
                Expect.equal volume.StoredAs VoxelType.Int16 "type"

        testInFolder "a qform: half a turn about z, left-handed"
        <| fun folder ->
            let h =
                { plain with
                    Sform = 0
                    Qform = 1
                    PixDim = [ -1; 1; 2; 3; 1; 1; 1; 1 ]
                    Quaternion = [ 0; 0; 1 ]
                    QOffset = [ 5; 6; 7 ]
                }

            let header = Nifti.ReadHeader(save folder "a.nii" h)
            let map = Affine.FromRows(-1., 0., 0., 5., 0., -2., 0., 6., 0., 0., -3., 7.)
            Expect.isTrue (header.Grid.VoxelToWorld.IsCloseTo(map, 1e-6)) $"{header.Grid.VoxelToWorld}"
            Expect.equal header.AffineSource "qform" "source"

        testInFolder "sform wins over qform, with a warning when they disagree"
        <| fun folder ->
            let h = { plain with Qform = 1 }
            let header = Nifti.ReadHeader(save folder "a.nii" h)
            Expect.equal header.Grid.VoxelToWorld[0, 3] -10. "sform"
            Expect.hasLength header.Warnings 1 "one warning"
            Expect.stringContains header.Warnings[0] "disagree" "the warning"

            let agreeing =
                { h with
                    QOffset = [ -10; -20; -30.005 ]
                }

            Expect.isEmpty (Nifti.ReadHeader(save folder "b.nii" agreeing)).Warnings "within 0.01"

        testInFolder "neither sform nor qform: voxel sizes, with a warning"
        <| fun folder ->
            let header = Nifti.ReadHeader(save folder "a.nii" { plain with Sform = 0 })
            Expect.equal header.Grid.VoxelToWorld (Affine.Scaling(1., 2., 3.)) "scaling"
            Expect.equal header.AffineSource "pixdim" "source"
            Expect.stringContains (Seq.exactlyOne header.Warnings) "neither" "the warning"

        for units, factor in [ 0, 1.; 1, 1000.; 2, 1.; 3, 0.001; 10, 1. ] do
            testInFolder $"units {units}"
            <| fun folder ->
                for name, h in
                    [
                        "sform", plain
                        "qform",
                        { plain with
                            Sform = 0
                            Qform = 1
                            QOffset = [ -10; -20; -30 ]
                        }
                    ] do
                    let header = Nifti.ReadHeader(save folder "a.nii" { h with Units = units })
                    let map = header.Grid.VoxelToWorld
                    Expect.floatClose Accuracy.medium map[1, 1] (2. * factor) $"{name}: spacing in mm"
                    Expect.floatClose Accuracy.medium map[2, 3] (-30. * factor) $"{name}: offset in mm"

        testInFolder "trailing axes of size 1 do not matter"
        <| fun folder ->
            let volume =
                Nifti.Read(
                    save
                        folder
                        "a.nii"
                        { plain with
                            Dim = [ 5; 2; 3; 4; 1; 1; 9; 9 ]
                        }
                )

            Expect.equal volume.Values ramp "values"

        testInFolder "one of several volumes"
        <| fun folder ->
            for pack in [ id; gzip ] do
                let path =
                    save
                        folder
                        "a.nii"
                        { plain with
                            Dim = [ 4; 2; 3; 2; 2; 1; 1; 1 ]
                        }

                File.WriteAllBytes(path, pack (File.ReadAllBytes path))
                Expect.equal (Nifti.ReadHeader path).Volumes 2L "volumes"
                Expect.equal (Nifti.Read(path, 0)).Values ramp[..11] "the first"
                Expect.equal (Nifti.Read(path, 1)).Values ramp[12..] "the second"
                refuses path "2 volumes; choose one by its volume number" (fun () -> Nifti.Read path)
                refuses path "no volume 2" (fun () -> Nifti.Read(path, 2))
                refuses path "no volume -1" (fun () -> Nifti.Read(path, -1))

        testInFolder "an extension before the voxels is skipped"
        <| fun folder ->
            for pack in [ id; gzip ] do
                let path = folder </> "a.nii"

                Array.concat [ header { plain with VoxOffset = 1000 }; Array.create 648 7uy; shorts false ]
                |> pack
                |> fun bytes -> File.WriteAllBytes(path, bytes)

                Expect.equal (Nifti.Read path).Values ramp "values"
    ]

/// One line and no more for each way in which a header can lie.
let private hostile =
    let bad name text (h: Header) =
        testInFolder name
        <| fun folder ->
            let path = save folder "a.nii" h
            refuses path text (fun () -> Nifti.Read path)
            File.WriteAllBytes(path, gzip (File.ReadAllBytes path))
            refuses path text (fun () -> Nifti.Read path)

    let dim values = { plain with Dim = values }

    [
        bad "a negative size" "size of -3 along axis 2" (dim [ 3; 2; -3; 4; 1; 1; 1; 1 ])
        bad "a size of zero" "size of 0 along axis 3" (dim [ 3; 2; 3; 0; 1; 1; 1; 1 ])
        bad "a fourth size of zero" "size of 0 along axis 4" (dim [ 4; 2; 3; 4; 0; 1; 1; 1 ])
        bad "no axes" "0 dimensions" (dim [ 0; 2; 3; 4; 1; 1; 1; 1 ])
        bad "eight axes" "8 dimensions" (dim [ 8; 2; 3; 4; 1; 1; 1; 1 ])
        bad "a 2-D image" "2-D image" (dim [ 2; 2; 3; 1; 1; 1; 1; 1 ])
        bad "too many voxels" "at most" (dim [ 3; 32767; 32767; 32767; 1; 1; 1; 1 ])
        bad "sizes that overflow" "larger than any file" (dim [ 7; 2; 3; 32767; 32767; 32767; 32767; 32767 ])
        bad
            "sizes that overflow 64 bits"
            "at most"
            { second with
                Dim = [ 3; 1L <<< 62; 1L <<< 62; 4; 1; 1; 1; 1 ]
            }
        bad
            "a huge size"
            "at most"
            { second with
                Dim = [ 3; Int64.MaxValue; 1; 1; 1; 1; 1; 1 ]
            }
        bad "many voxels that are not there" "bytes" (dim [ 3; 1000; 1000; 1000; 1; 1; 1; 1 ])
        bad "voxels within the header" "start at byte 100" { plain with VoxOffset = 100 }
        bad "a negative offset" "start at byte -1" { plain with VoxOffset = -1 }
        bad "an offset that is no number" "start at byte NaN" { plain with VoxOffset = nan }
        bad "a fractional offset" "start at byte 352.5" { plain with VoxOffset = 352.5 }
        bad "NIfTI-2: voxels within the header" "start at byte 352" { second with VoxOffset = 352 }
        bad "a bitpix that does not match" "32 bits per voxel" { plain with BitPix = 32 }
        bad
            "complex numbers"
            "complex"
            { plain with
                DataType = 32
                BitPix = 64
            }
        bad
            "complex numbers of double precision"
            "complex"
            { plain with
                DataType = 1792
                BitPix = 128
            }
        bad
            "colours"
            "RGB"
            { plain with
                DataType = 128
                BitPix = 24
            }
        bad
            "colours with alpha"
            "RGB"
            { plain with
                DataType = 2304
                BitPix = 32
            }
        bad "single bits" "single bits" { plain with DataType = 1; BitPix = 1 }
        bad "an unknown type" "unknown datatype 7" { plain with DataType = 7 }
        bad "a wrong magic" "not a NIfTI file" { plain with Magic = "abc\000" }
        bad "Analyze 7.5, without magic" "not a NIfTI file" { plain with Magic = "" }
        bad
            "a wrong NIfTI-2 magic"
            "not a NIfTI file"
            { second with
                Magic = "n+2\000\n\n\026\n"
            }
        bad "the header of a pair" "NIfTI pair" { plain with Magic = "ni1\000" }
        bad
            "a singular sform"
            "singular"
            { plain with
                Srow = List.replicate 12 1.
            }
        bad
            "an sform of zeros"
            "singular"
            { plain with
                Srow = List.replicate 12 0.
            }
        bad
            "NaN in the sform"
            "not finite"
            { plain with
                Srow = nan :: plain.Srow.Tail
            }
        bad
            "NaN in the qform"
            "not finite"
            { plain with
                Sform = 0
                Qform = 1
                Quaternion = [ nan; 0; 0 ]
            }
        bad
            "infinity in the qform"
            "not finite"
            { plain with
                Sform = 0
                Qform = 1
                QOffset = [ infinity; 0; 0 ]
            }
        bad
            "a voxel size of zero"
            "singular"
            { plain with
                Sform = 0
                PixDim = [ 1; 1; 0; 3; 1; 1; 1; 1 ]
            }
        bad "a slope of infinity" "scl_slope" { plain with Slope = infinity }
        bad
            "an intercept that is no number"
            "scl_inter"
            { plain with
                Slope = 2
                Intercept = nan
            }

        testInFolder "voxels after the end of the file"
        <| fun folder ->
            let path = save folder "a.nii" { plain with VoxOffset = 1e6 }
            refuses path "vox_offset" (fun () -> Nifti.Read path)
            File.WriteAllBytes(path, gzip (File.ReadAllBytes path))
            refuses path "can hold" (fun () -> Nifti.Read path)

        testInFolder "truncated voxels"
        <| fun folder ->
            let path = save folder "a.nii" plain
            let bytes = File.ReadAllBytes path
            File.WriteAllBytes(path, bytes[.. bytes.Length - 2])
            refuses path "truncated: 47 of 48 bytes" (fun () -> Nifti.Read path)
            File.WriteAllBytes(path, gzip bytes[.. bytes.Length - 2])
            refuses path "truncated: 47 of 48 bytes" (fun () -> Nifti.Read path)

        testInFolder "a truncated gzip stream"
        <| fun folder ->
            let path = folder </> "a.nii.gz"
            Nifti.Write(path, randomVolume (Random 1) (gridOf 20 20 20))
            let bytes = File.ReadAllBytes path

            for length in [ 3; 12; 100; bytes.Length / 2; bytes.Length - 20 ] do
                File.WriteAllBytes(path, bytes[.. length - 1])
                invalid path (fun () -> Nifti.Read path) |> ignore

        testInFolder "a damaged gzip stream fails its checksum"
        <| fun folder ->
            let path = folder </> "a.nii.gz"
            Nifti.Write(path, randomVolume (Random 1) (gridOf 20 20 20))
            let bytes = File.ReadAllBytes path
            bytes[bytes.Length - 6] <- bytes[bytes.Length - 6] ^^^ 1uy
            File.WriteAllBytes(path, bytes)
            refuses path "damaged" (fun () -> Nifti.Read path)

        testInFolder "a gzip stream that declares more than it can hold"
        <| fun folder ->
            let path = folder </> "a.nii.gz"

            let h =
                { plain with
                    Dim = [ 3; 1000; 1000; 1000; 1; 1; 1; 1 ]
                }

            File.WriteAllBytes(path, gzip (header h))
            refuses path "compressed bytes can hold" (fun () -> Nifti.Read path)

        testInFolder "a gzip stream that holds far more than it declares is not read on"
        <| fun folder ->
            let path = folder </> "a.nii.gz"

            let bytes =
                Array.concat [ header plain; shorts false; Array.zeroCreate (64 * 1024 * 1024) ]

            File.WriteAllBytes(path, gzip bytes)
            let before = GC.GetAllocatedBytesForCurrentThread()
            Expect.equal (Nifti.Read path).Values ramp "values"
            let allocated = GC.GetAllocatedBytesForCurrentThread() - before
            Expect.isLessThan allocated 4_000_000L "the rest stays packed"

        testInFolder "not files"
        <| fun folder ->
            refuses folder "is a folder" (fun () -> Nifti.Read folder)
            let missing = folder </> "none.nii"
            refuses missing "does not exist" (fun () -> Nifti.Read missing)
            let nowhere = folder </> "none" </> "none.nii"
            refuses nowhere "does not exist" (fun () -> Nifti.ReadHeader nowhere)

        testInFolder "an empty file"
        <| fun folder ->
            let path = folder </> "a.nii"
            File.WriteAllBytes(path, [||])
            refuses path "is empty" (fun () -> Nifti.Read path)

        testInFolder "text under the name of an image"
        <| fun folder ->
            for name in [ "a.nii"; "a.nii.gz" ] do
                for text in [ "x"; "subject,age\n1,2\n"; String('a', 5000) ] do
                    let path = folder </> name
                    File.WriteAllText(path, text)
                    refuses path "not a NIfTI file" (fun () -> Nifti.Read path)
                    File.WriteAllBytes(path, gzip (File.ReadAllBytes path))
                    refuses path "not a NIfTI file" (fun () -> Nifti.Read path)

        testInFolder "a file that ends within its header"
        <| fun folder ->
            for whole in [ plain; second ] do
                let path = folder </> "a.nii"
                File.WriteAllBytes(path, (header whole)[..99])
                refuses path "after 100 of" (fun () -> Nifti.Read path)

        testInFolder "random bytes after a good start"
        <| fun folder ->
            let random = Random 11
            let path = folder </> "a.nii"

            for round in 1..300 do
                let bytes =
                    Array.append (header (if round % 2 = 0 then plain else second)) (shorts false)

                for _ in 0 .. random.Next 6 do
                    bytes[4 + random.Next(bytes.Length - 4)] <- byte (random.Next 256)

                File.WriteAllBytes(path, bytes)

                try
                    Nifti.Read path |> ignore
                with :? InvalidFileException ->
                    ()

        testInFolder "an image is no field, and a field no image"
        <| fun folder ->
            let image = save folder "a.nii" plain
            refuses image "not a displacement field" (fun () -> Nifti.ReadField image)
            let field = folder </> "field.nii"
            Nifti.WriteField(field, DisplacementField.Zero(gridOf 2 2 2))
            refuses field "is a displacement field" (fun () -> Nifti.Read field)

        testInFolder "a field of another intent or with vectors that are no numbers"
        <| fun folder ->
            let path = folder </> "field.nii"
            Nifti.WriteField(path, DisplacementField.Zero(gridOf 2 2 2))
            let bytes = File.ReadAllBytes path
            let other = Array.copy bytes
            other[68] <- other[68] - 1uy
            File.WriteAllBytes(path, other)
            refuses path "its intent is 1006" (fun () -> Nifti.ReadField path)
            let broken = Array.copy bytes
            BitConverter.GetBytes(nanf).CopyTo(broken, 352 + 4 * 20)
            File.WriteAllBytes(path, broken)
            refuses path "not finite" (fun () -> Nifti.ReadField path)
    ]

let tests =
    testList
        "nifti"
        [
            testList "round trips" roundTrips
            testList "reading" reading
            testList "hostile" hostile
        ]
