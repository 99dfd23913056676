/// Damages files: every change is drawn from the random numbers that are given, and from nothing else.
module Ldr.Core.Tests.Fuzz.Mutation

open System
open System.Buffers.Binary
open System.IO
open System.IO.Compression
open System.Text

let private pick (random: Random) (items: 'a[]) = items[random.Next items.Length]

/// Bytes as text and back, one character for each byte.
let private latin = Encoding.Latin1

let private wholeNumbers =
    [|
        0L
        1L
        -1L
        2L
        3L
        7L
        8L
        127L
        128L
        255L
        256L
        32767L
        32768L
        65535L
        65536L
        1000000L
        2147483647L
        2147483648L
        -2147483648L
        4294967295L
        1L <<< 40
        1L <<< 53
        Int64.MaxValue
        Int64.MinValue
    |]

let private realNumbers =
    [|
        0.0
        -0.0
        1.0
        -1.0
        0.5
        nan
        infinity
        -infinity
        1e-320
        1e-30
        1e30
        1e308
        1e9
        2147483648.0
    |]

let private splice (data: byte[]) (at: int) (removed: int) (added: byte[]) =
    Array.concat [ data[.. at - 1]; added; data[at + removed ..] ]

/// A place in the data: half of them in the first 512 bytes, where headers are.
let private place (random: Random) (data: byte[]) (room: int) =
    let last = data.Length - room

    if last <= 0 then 0
    elif random.Next 2 = 0 then random.Next(min 512 last + 1)
    else random.Next(last + 1)

/// A number of 2, 4 or 8 bytes, whole or real, in either byte order, mostly at a multiple of its size.
let private setNumber (random: Random) (data: byte[]) =
    let bytes = Array.zeroCreate<byte> 8
    let size = pick random [| 1; 2; 4; 8 |]

    if size >= 4 && random.Next 3 = 0 then
        let value = pick random realNumbers

        if size = 4 then
            BinaryPrimitives.WriteSingleLittleEndian(Span bytes, float32 value)
        else
            BinaryPrimitives.WriteDoubleLittleEndian(Span bytes, value)
    else
        BinaryPrimitives.WriteInt64LittleEndian(Span bytes, pick random wholeNumbers)

    let number = bytes[.. size - 1]
    let number = if random.Next 4 = 0 then Array.rev number else number

    if data.Length < size then
        data
    else
        let at = place random data size
        let at = if random.Next 4 = 0 then at else at - at % size
        splice data at size number

let private block (random: Random) (data: byte[]) =
    let at = place random data 1
    at, min (data.Length - at) (1 + random.Next(pick random [| 4; 64; 4096 |]))

let private byteChanges: (Random -> byte[] -> byte[])[] =
    [|
        // A bit.
        fun random data ->
            let at = place random data 1
            splice data at 1 [| data[at] ^^^ (1uy <<< random.Next 8) |]
        // A byte.
        fun random data ->
            let value =
                pick random [| 0uy; 1uy; 10uy; 127uy; 128uy; 255uy; byte (random.Next 256) |]

            splice data (place random data 1) 1 [| value |]
        // The end is missing.
        fun random data -> data[.. place random data 1 - 1]
        // More bytes.
        fun random data ->
            let more = Array.zeroCreate<byte>(1 + random.Next(pick random [| 4; 64; 4096 |]))
            random.NextBytes more
            splice data (place random data 1) 0 more
        // Fewer bytes.
        fun random data ->
            let at, length = block random data
            splice data at length [||]
        // A part again, at another place, in front of what was there or over it.
        fun random data ->
            let at, length = block random data
            let into = place random data length
            let over = if random.Next 2 = 0 then 0 else length
            splice data into over data[at .. at + length - 1]
        // A long run of one byte: what packs well.
        fun random data ->
            let run =
                Array.create (pick random [| 300; 70000; 1 <<< 20 |]) (pick random [| 0uy; 32uy; 255uy |])

            splice data (place random data 1) 0 run
        setNumber
        setNumber
        setNumber
    |]

/// A few changes of bytes and of numbers.
let bytes (random: Random) (data: byte[]) : byte[] =
    (data, [ 1 .. 1 + random.Next 3 ])
    ||> List.fold (fun data _ ->
        if data.Length = 0 then
            data
        else
            (pick random byteChanges) random data)

let private words =
    [|
        "0"
        "1"
        "-1"
        "-0"
        "0.5"
        "1e999"
        "-1e999"
        "1e-320"
        "1e30"
        "NaN"
        "Infinity"
        "2147483647"
        "2147483648"
        "4294967296"
        "9223372036854775807"
        "99999999999999999999999"
        "true"
        "null"
        "\"\""
        "\"a\\nb\""
        "\"\\ud800\""
        "\"\\u0000\""
        "\"../../../etc/passwd\""
        "../../../etc/passwd"
        "/dev/zero"
        "{}"
        "[]"
        "[1,2]"
        "{\"a\":1,\"a\":2}"
        "\u00e2\u0080\u00a8"
        "\u00ff\u00fe"
        "\r"
        "\n"
        "\t"
        ","
        "="
        ":"
        "#"
        " "
        ""
    |]

/// Words, numbers, quoted texts, line ends and single signs, in their order.
let private tokens (text: string) =
    RegularExpressions.Regex.Matches(
        text,
        "\"(?:[^\"\\\\\n]|\\\\.)*\"|[A-Za-z_]+|[-+]?[0-9][0-9.eE+-]*|\\s+|."
    )
    |> Seq.map _.Value
    |> Array.ofSeq

let private tokenChange (random: Random) (parts: string array) : string array =
    let at = random.Next parts.Length
    let length = 1 + random.Next(min (pick random [| 1; 8; 64 |]) (parts.Length - at))

    let replace removed added =
        Array.concat [ parts[.. at - 1]; added; parts[at + removed ..] ]

    let significant =
        [|
            for i in 0 .. parts.Length - 1 do
                let first = parts[i].Chars 0

                if Char.IsLetterOrDigit first || first = '"' || first = '-' then
                    i
        |]

    match random.Next 12 with
    | 0 -> replace length [||]
    | 1 -> replace 0 parts[at .. at + length - 1]
    | 2 ->
        let from = random.Next parts.Length
        replace 0 parts[from .. min (parts.Length - 1) (from + length)]
    | 3 -> replace 1 [| pick random parts |]
    | 4 when random.Next 4 = 0 -> replace 1 [| String('x', pick random [| 500; 100000 |]) |]
    | 5 when random.Next 4 = 0 ->
        replace
            1
            [|
                String.replicate
                    (pick random [| 100; 20000 |])
                    (pick random [| "["; "{\"a\":"; "1,"; "1 " |]: string)
            |]
    | 6 -> replace 1 [| "\"" + String('\\', 1 + random.Next 3) + "n\"" |]
    | _ when significant.Length > 0 ->
        // A number or a word for another, which is what a program must understand.
        let at = pick random significant
        Array.concat [ parts[.. at - 1]; [| pick random words |]; parts[at + 1 ..] ]
    | _ -> replace 1 [| pick random words |]

/// A few changes of a text's words and numbers; of the first 64 KB where it is longer.
let text (random: Random) (data: byte[]) : byte[] =
    let head = data[.. min data.Length 65536 - 1]

    let changed =
        (tokens (latin.GetString head), [ 1 .. 1 + random.Next 3 ])
        ||> List.fold (fun parts _ ->
            // A change may leave an empty word.
            let parts = parts |> Array.filter (fun part -> part <> "")
            if parts.Length = 0 then parts else tokenChange random parts)
        |> String.concat ""

    Array.append (latin.GetBytes changed) data[head.Length ..]

let private unpacked (data: byte[]) =
    use stream = new GZipStream(new MemoryStream(data), CompressionMode.Decompress)
    use result = new MemoryStream()
    stream.CopyTo result
    result.ToArray()

let gzip (data: byte[]) =
    use result = new MemoryStream()
    (use stream = new GZipStream(result, CompressionLevel.Fastest, true) in stream.Write data)
    result.ToArray()

/// Changes what is inside a gzip file, and packs it again.
let insideGzip (change: byte[] -> byte[]) (data: byte[]) = gzip (change (unpacked data))

/// Changes the header of a safetensors file, and gives it its new length.
let insideSafetensors (change: byte[] -> byte[]) (data: byte[]) =
    let length = int (BinaryPrimitives.ReadInt64LittleEndian(ReadOnlySpan data))
    let header = change data[8 .. 7 + length]
    let start = Array.zeroCreate 8
    BinaryPrimitives.WriteInt64LittleEndian(Span start, int64 header.Length)
    Array.concat [ start; header; data[8 + length ..] ]
