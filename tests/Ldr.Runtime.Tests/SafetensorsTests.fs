module Ldr.Runtime.Tests.SafetensorsTests

open System
open System.IO
open System.Text
open Expecto
open Ldr.Runtime.Formats
open Ldr.TestKit.Helpers

/// A file by hand: the header's text, then so many bytes of data.
let private save (folder: string) (header: string) (data: int) =
    let path = folder </> "a.safetensors"
    let text = Encoding.UTF8.GetBytes header

    Array.concat [ BitConverter.GetBytes(uint64 text.Length); text; Array.init data byte ]
    |> fun bytes -> File.WriteAllBytes(path, bytes)

    path

let private none = readOnlyDict<string, string> []

let private good =
    [
        testInFolder "tensors and metadata survive"
        <| fun folder ->
            let random = Random 2
            let weights = randomFloats random 24 -3. 3.

            let tensors =
                [
                    SafeTensor.FromFloats("b.weight", [| 2; 3; 4 |], ReadOnlySpan weights)
                    SafeTensor.FromFloats("half", [| 24 |], ReadOnlySpan weights, true)
                    SafeTensor("bytes", [| 3 |], TensorType.U8, [| 1uy; 2uy; 255uy |])
                    SafeTensor("long", [| 1 |], TensorType.I64, BitConverter.GetBytes -5L)
                    SafeTensor.FromFloats("scalar", [||], ReadOnlySpan [| 7f |])
                    SafeTensor.FromFloats("nothing", [| 0; 5 |], ReadOnlySpan [||])
                ]

            let metadata =
                readOnlyDict [ "architecture", """{"name":"ldr","φ":"ü \" \\ "}"""; "z", ""; "a", "1" ]

            let path = folder </> "a.safetensors"
            Safetensors.Write(path, metadata, ResizeArray tensors)
            let file = Safetensors.Read path

            Expect.equal
                (file.Metadata |> Seq.map (|KeyValue|) |> Map.ofSeq)
                (metadata |> Seq.map (|KeyValue|) |> Map.ofSeq)
                "metadata"

            Expect.hasLength file.Tensors tensors.Length "how many"

            for tensor in tensors do
                match file.TryGet tensor.Name with
                | true, found ->
                    Expect.equal found.Shape tensor.Shape $"{tensor.Name}: shape"
                    Expect.equal found.DType tensor.DType $"{tensor.Name}: type"
                    Expect.equal found.Bytes tensor.Bytes $"{tensor.Name}: bytes"
                | _ -> failtest $"{tensor.Name} is missing"

            Expect.isFalse (fst (file.TryGet "other")) "no such tensor"

        testInFolder "the header is padded to 8 bytes and types are aligned"
        <| fun folder ->
            let path = folder </> "a.safetensors"

            Safetensors.Write(
                path,
                none,
                ResizeArray
                    [
                        SafeTensor("u8", [| 3 |], TensorType.U8, [| 1uy; 2uy; 3uy |])
                        SafeTensor.FromFloats("f32", [| 1 |], ReadOnlySpan [| 2f |])
                        SafeTensor("f64", [| 1 |], TensorType.F64, BitConverter.GetBytes 3.)
                    ]
            )

            let bytes = File.ReadAllBytes path
            let length = int (BitConverter.ToUInt64(bytes, 0))
            Expect.equal (length % 8) 0 "padded"
            Expect.equal bytes[8] (byte '{') "JSON starts at once"
            let data = 8 + length
            Expect.equal (BitConverter.ToDouble(bytes, data)) 3. "eight bytes first"
            Expect.equal (BitConverter.ToSingle(bytes, data + 8)) 2f "then four"
            Expect.equal bytes[data + 12 ..] [| 1uy; 2uy; 3uy |] "then one"

        testInFolder "the same content gives the same bytes"
        <| fun folder ->
            let write name (pairs: (string * string) list) =
                let path = folder </> name

                Safetensors.Write(
                    path,
                    readOnlyDict pairs,
                    ResizeArray [ SafeTensor("x", [| 0 |], TensorType.F32, [||]) ]
                )

                File.ReadAllBytes path

            Expect.equal
                (write "a" [ "k", "1"; "l", "2" ])
                (write "b" [ "l", "2"; "k", "1" ])
                "the order of the metadata does not matter"

        testInFolder "a file by hand, in any order of names"
        <| fun folder ->
            let path =
                save
                    folder
                    """{"b":{"dtype":"I32","shape":[1],"data_offsets":[2,6]},"a":{"shape":[2],"data_offsets":[0,2],"dtype":"U8"}}   """
                    6

            let file = Safetensors.Read path

            Expect.equal
                [ for tensor in file.Tensors -> tensor.Name ]
                [ "a"; "b" ]
                "in the order of the bytes"

            Expect.equal file.Tensors[1].Bytes [| 2uy; 3uy; 4uy; 5uy |] "bytes"

        testInFolder "a header as long as that of a NIfTI image is still one of tensors"
        <| fun folder ->
            let header = """{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"""
            let file = Safetensors.Read(save folder (header.PadRight 348) 2)
            Expect.equal file.Tensors[0].Bytes [| 0uy; 1uy |] "bytes"

        testCase "floating-point types become float32"
        <| fun () ->
            let floats kind bytes =
                SafeTensor("x", [| 2 |], kind, bytes).ToFloats()

            Expect.equal (floats TensorType.F16 [| 0x00uy; 0x3Cuy; 0x00uy; 0xC1uy |]) [| 1f; -2.5f |] "F16"

            for bits in 0us .. 0xFFFFus do
                let expected = float32 (BitConverter.UInt16BitsToHalf bits)
                let found = (floats TensorType.F16 (BitConverter.GetBytes(uint32 bits)))[0]

                if
                    BitConverter.SingleToUInt32Bits found
                    <> BitConverter.SingleToUInt32Bits expected
                then
                    failtest $"F16 {bits}: {found}, not {expected}"

            Expect.equal (floats TensorType.BF16 [| 0x80uy; 0x3Fuy; 0x20uy; 0xC0uy |]) [| 1f; -2.5f |] "BF16"

            Expect.equal
                (floats TensorType.F64 (Array.append (BitConverter.GetBytes 1.) (BitConverter.GetBytes -2.5)))
                [| 1f; -2.5f |]
                "F64"

            Expect.equal
                (SafeTensor.FromFloats("x", [| 2 |], ReadOnlySpan [| 1f; -2.5f |]).ToFloats())
                [| 1f; -2.5f |]
                "F32"

            Expect.throwsT<InvalidOperationException>
                (fun () -> floats TensorType.I16 [| 0uy; 0uy; 0uy; 0uy |] |> ignore)
                "integers"

        testCase "tensors that cannot be are refused"
        <| fun () ->
            let refused shape count what =
                Expect.throwsT<ArgumentException>
                    (fun () -> SafeTensor("x", shape, TensorType.F32, Array.zeroCreate count) |> ignore)
                    what

            refused [| 2 |] 7 "too few bytes"
            refused [| -1; -2 |] 8 "negative sizes"
            refused [| Int64.MaxValue; 4 |] 0 "overflow"
            let same = SafeTensor("x", [| 0 |], TensorType.F32, [||])

            Expect.throwsT<ArgumentException>
                (fun () -> Safetensors.Write("unused", none, ResizeArray [ same; same ]))
                "one name twice"

        testInFolder "a stream reads as a file does"
        <| fun folder ->
            let path = save folder """{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}""" 2
            use stream = new MemoryStream(File.ReadAllBytes path)
            let file = Safetensors.Read(stream, "embedded")
            Expect.equal file.Tensors[0].Bytes [| 0uy; 1uy |] "bytes"
    ]

let private hostile =
    let bad name text header data =
        testInFolder name
        <| fun folder ->
            let path = save folder header data
            refuses path text (fun () -> Safetensors.Read path)

    let entry kind shape offsets =
        sprintf """{"a":{"dtype":%s,"shape":%s,"data_offsets":%s}}""" kind shape offsets

    [
        bad "not JSON" "not valid JSON" "{]" 0
        bad "JSON cut off" "not valid JSON" """{"a":{"dtype":"U8" """ 0
        bad "text after the JSON" "not valid JSON" """{} x""" 0
        bad "not an object" "does not start with '{'" "[1,2,3]" 0
        bad "deep nesting" "not valid JSON" ("""{"a":""" + String('[', 5000) + String(']', 5000) + "}") 0
        bad
            "a name twice"
            "'a' twice"
            """{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"""
            2
        bad
            "a key twice"
            "'shape' is there twice"
            """{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}"""
            1
        bad
            "an unknown key"
            "unknown entry 'size'"
            """{"a":{"dtype":"U8","size":1,"shape":[1],"data_offsets":[0,1]}}"""
            1
        bad "no shape" "it needs dtype, shape" """{"a":{"dtype":"U8","data_offsets":[0,1]}}""" 1
        bad "an entry that is a number" "not an object" """{"a":5}""" 0
        bad "an unknown type" "unknown dtype" (entry "\"F7\"" "[1]" "[0,1]") 1
        bad "a type that is a number" "unknown dtype" (entry "3" "[1]" "[0,1]") 1
        bad "a shape of texts" "shape is not a list" (entry "\"U8\"" "[\"1\"]" "[0,1]") 1
        bad "a negative size" "shape is not a list" (entry "\"U8\"" "[-1]" "[0,1]") 1
        bad "a fractional size" "shape is not a list" (entry "\"U8\"" "[1.5]" "[0,1]") 1
        bad "one offset" "two data_offsets" (entry "\"U8\"" "[1]" "[0]") 1
        bad
            "offsets beyond 64 bits"
            "data_offsets are not"
            (entry "\"U8\"" "[1]" "[0,99999999999999999999]")
            1
        bad "offsets turned round" "before they begin" (entry "\"U8\"" "[1]" "[1,0]") 1
        bad "a shape that does not fit" "does not fit its 4 bytes" (entry "\"F32\"" "[2]" "[0,4]") 4
        bad
            "a shape that overflows"
            "does not fit"
            (entry "\"F32\"" "[4294967296,4294967296,4294967296]" "[0,4]")
            4
        bad
            "a product that wraps to the right size"
            "does not fit"
            (entry "\"U8\"" "[4294967296,4294967296,1]" "[0,0]")
            0
        bad "offsets after the end" "the file's data at 3" (entry "\"F32\"" "[1]" "[0,4]") 3
        bad "huge offsets" "larger than" (entry "\"U8\"" "[9000000000000000000]" "[0,9000000000000000000]") 4
        bad "a hole at the start" "leave a hole" (entry "\"U8\"" "[1]" "[1,2]") 2
        bad "bytes at the end" "1 bytes that belong to no tensor" (entry "\"U8\"" "[1]" "[0,1]") 2
        bad
            "an overlap"
            "overlap"
            """{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"""
            3
        bad "metadata that is a list" "__metadata__ is not" """{"__metadata__":[]}""" 0
        bad "metadata that is a number" "__metadata__.k is not a text" """{"__metadata__":{"k":1}}""" 0
        bad "metadata twice" "'k' twice" """{"__metadata__":{"k":"1","k":"2"}}""" 0
        bad
            "half a surrogate pair"
            "not valid JSON"
            """{"\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"""
            0

        testInFolder "text that is not UTF-8"
        <| fun folder ->
            let path =
                save folder """{"aa":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}""" 0

            let bytes = File.ReadAllBytes path
            bytes[10] <- 0xFFuy
            File.WriteAllBytes(path, bytes)
            refuses path "not valid JSON" (fun () -> Safetensors.Read path)

        testInFolder "header lengths that lie"
        <| fun folder ->
            let path = folder </> "a.safetensors"

            for length in [ 0UL; 1UL; 17UL; 1UL <<< 40; UInt64.MaxValue; 1UL <<< 63 ] do
                File.WriteAllBytes(path, Array.append (BitConverter.GetBytes length) (Array.create 16 32uy))
                refuses path "not a safetensors file" (fun () -> Safetensors.Read path)

        testInFolder "not files, empty and short ones"
        <| fun folder ->
            let path = folder </> "a.safetensors"
            refuses path "does not exist" (fun () -> Safetensors.Read path)
            refuses folder "is a folder" (fun () -> Safetensors.Read folder)

            for length in [ 0; 7; 8 ] do
                File.WriteAllBytes(path, Array.zeroCreate length)
                refuses path "safetensors" (fun () -> Safetensors.Read path)

        testInFolder "a good file with bytes changed never gives anything but one line"
        <| fun folder ->
            let path = folder </> "a.safetensors"
            let random = Random 9

            let tensor =
                SafeTensor.FromFloats("w", [| 2; 2 |], ReadOnlySpan [| 1f; 2f; 3f; 4f |])

            Safetensors.Write(path, readOnlyDict [ "k", "v" ], ResizeArray [ tensor ])
            let original = File.ReadAllBytes path

            for _ in 1..300 do
                let bytes = Array.copy original

                for _ in 0 .. random.Next 3 do
                    bytes[random.Next bytes.Length] <- byte (random.Next 256)

                File.WriteAllBytes(path, bytes)

                try
                    Safetensors.Read path |> ignore
                with :? InvalidFileException ->
                    ()
    ]

let tests =
    testList "safetensors" [ testList "good" good; testList "hostile" hostile ]
