/// NIfTI files made by hand, field by field, independently of the writer under test.
module Ldr.TestKit.NiftiBytes

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression

/// Sets numbers at byte offsets, in either byte order.
type Bytes(length: int, big: bool) =
    let bytes: byte[] = Array.zeroCreate length
    let at offset = Span(bytes, offset, length - offset)

    member _.Array = bytes

    member _.Short offset (value: int) =
        if big then
            BinaryPrimitives.WriteInt16BigEndian(at offset, int16 value)
        else
            BinaryPrimitives.WriteInt16LittleEndian(at offset, int16 value)

    member _.Int offset (value: int) =
        if big then
            BinaryPrimitives.WriteInt32BigEndian(at offset, value)
        else
            BinaryPrimitives.WriteInt32LittleEndian(at offset, value)

    member _.Long offset (value: int64) =
        if big then
            BinaryPrimitives.WriteInt64BigEndian(at offset, value)
        else
            BinaryPrimitives.WriteInt64LittleEndian(at offset, value)

    member this.Float offset (value: float) =
        this.Int offset (BitConverter.SingleToInt32Bits(float32 value))

    member this.Double offset (value: float) =
        this.Long offset (BitConverter.DoubleToInt64Bits value)

    member _.Raw offset (value: byte[]) =
        Array.blit value 0 bytes offset value.Length

type Header =
    {
        Version: int
        Big: bool
        Magic: string
        Dim: int64 list
        DataType: int
        BitPix: int
        PixDim: float list
        VoxOffset: float
        Slope: float
        Intercept: float
        Units: int
        Qform: int
        Sform: int
        Quaternion: float list
        QOffset: float list
        Srow: float list
        Intent: int
    }

/// 2 × 3 × 4 voxels of int16, spacing 1 × 2 × 3 mm, sform only.
let plain =
    {
        Version = 1
        Big = false
        Magic = "n+1\000"
        Dim = [ 3; 2; 3; 4; 1; 1; 1; 1 ]
        DataType = 4
        BitPix = 16
        PixDim = [ 1; 1; 2; 3; 1; 1; 1; 1 ]
        VoxOffset = 352
        Slope = 0
        Intercept = 0
        Units = 2
        Qform = 0
        Sform = 1
        Quaternion = [ 0; 0; 0 ]
        QOffset = [ 0; 0; 0 ]
        Srow = [ 1; 0; 0; -10; 0; 2; 0; -20; 0; 0; 3; -30 ]
        Intent = 0
    }

let second =
    { plain with
        Version = 2
        Magic = "n+2\000\r\n\026\n"
        VoxOffset = 544
    }

let private latin (text: string) = Text.Encoding.Latin1.GetBytes text

let header (h: Header) =
    if h.Version = 1 then
        let b = Bytes(352, h.Big)
        b.Int 0 348
        h.Dim |> List.iteri (fun i value -> b.Short (40 + 2 * i) (int value))
        b.Short 68 h.Intent
        b.Short 70 h.DataType
        b.Short 72 h.BitPix
        h.PixDim |> List.iteri (fun i value -> b.Float (76 + 4 * i) value)
        b.Float 108 h.VoxOffset
        b.Float 112 h.Slope
        b.Float 116 h.Intercept
        b.Raw 123 [| byte h.Units |]
        b.Short 252 h.Qform
        b.Short 254 h.Sform
        h.Quaternion |> List.iteri (fun i value -> b.Float (256 + 4 * i) value)
        h.QOffset |> List.iteri (fun i value -> b.Float (268 + 4 * i) value)
        h.Srow |> List.iteri (fun i value -> b.Float (280 + 4 * i) value)
        b.Raw 344 (latin h.Magic)
        b.Array
    else
        let b = Bytes(544, h.Big)
        b.Int 0 540
        b.Raw 4 (latin h.Magic)
        b.Short 12 h.DataType
        b.Short 14 h.BitPix
        h.Dim |> List.iteri (fun i value -> b.Long (16 + 8 * i) value)
        h.PixDim |> List.iteri (fun i value -> b.Double (104 + 8 * i) value)
        b.Long 168 (int64 h.VoxOffset)
        b.Double 176 h.Slope
        b.Double 184 h.Intercept
        b.Int 344 h.Qform
        b.Int 348 h.Sform
        h.Quaternion |> List.iteri (fun i value -> b.Double (352 + 8 * i) value)
        h.QOffset |> List.iteri (fun i value -> b.Double (376 + 8 * i) value)
        h.Srow |> List.iteri (fun i value -> b.Double (400 + 8 * i) value)
        b.Int 500 h.Units
        b.Int 504 h.Intent
        b.Array

/// 24 numbers, -12 to 11, as int16.
let shorts big =
    let b = Bytes(48, big)
    [ 0..23 ] |> List.iter (fun i -> b.Short (2 * i) (i - 12))
    b.Array

let gzip (bytes: byte[]) =
    use packed = new MemoryStream()

    using (new GZipStream(packed, CompressionLevel.Fastest)) (fun stream ->
        stream.Write(bytes, 0, bytes.Length))

    packed.ToArray()

/// Writes a header and int16 voxels to a file of that name.
let save (folder: string) (name: string) (h: Header) =
    let path = Path.Combine(folder, name)
    File.WriteAllBytes(path, Array.append (header h) (shorts h.Big))
    path
