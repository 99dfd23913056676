/// Damages HDF5 files where their structure is: addresses, headers' messages, nodes of trees, filters, layouts and links.
module Ldr.Core.Tests.Fuzz.Hdf5Mutation

open System
open System.Text

let private pick (random: Random) (items: 'a[]) = items[random.Next items.Length]

let private signatures =
    [|
        "TREE"
        "SNOD"
        "HEAP"
        "GCOL"
        "OHDR"
        "OCHK"
        "FRHP"
        "FHDB"
        "FHIB"
        "BTHD"
        "BTLF"
        "BTIN"
        "FAHD"
        "FADB"
        "EAHD"
        "FSHD"
    |]

/// Places of the structures that have a signature.
let private structures (data: byte[]) : int[] =
    [|
        for signature in signatures do
            let bytes = Encoding.ASCII.GetBytes signature
            let mutable from = 0
            let mutable go = true

            while go do
                match data.AsSpan(from).IndexOf(ReadOnlySpan bytes) with
                | -1 -> go <- false
                | found ->
                    from + found
                    from <- from + found + 4
    |]

/// Places of numbers of 8 bytes that are addresses in the file, or no address at all.
let private addresses (data: byte[]) : int[] =
    [|
        for at in 0..4 .. data.Length - 8 do
            let value = BitConverter.ToUInt64(data, at)

            if
                value = UInt64.MaxValue
                || (value >= 48UL && value < uint64 data.Length && value % 4UL = 0UL)
            then
                at
    |]

/// Places of messages as headers of version 1 have them (kind, size, both of 2 bytes), and of version 2 (1 and 2 bytes).
let private messages (data: byte[]) : struct (int * bool)[] =
    [|
        for at in 0..8 .. data.Length - 8 do
            let kind, size =
                BitConverter.ToUInt16(data, at), BitConverter.ToUInt16(data, at + 2)

            if kind >= 1us && kind <= 23us && size >= 8us && size <= 512us && size % 8us = 0us then
                struct (at, false)
        for start in structures data do
            if data[start] = byte 'O' then
                // After "OHDR", version, flags and the size, or after "OCHK".
                let mutable at = start + (if data[start + 1] = byte 'C' then 4 else 7)
                let mutable left = 12

                while left > 0 && at + 4 < data.Length do
                    struct (at, true)
                    at <- at + 4 + int (BitConverter.ToUInt16(data, at + 1))
                    left <- left - 1
    |]

/// Places of names and paths: letters before a zero.
let private names (data: byte[]) : struct (int * int)[] =
    [|
        let mutable start = 0

        for at in 0 .. data.Length - 1 do
            if
                not (
                    Char.IsAsciiLetterOrDigit(char data[at])
                    || data[at] = byte '/'
                    || data[at] = byte '_'
                    || data[at] = byte '.'
                )
            then
                if at - start >= 1 && at - start < 60 then
                    struct (start, at - start)

                start <- at + 1
    |]

let private change (random: Random) (original: byte[]) : byte[] =
    let data = Array.copy original

    let put (at: int) (bytes: byte[]) =
        if at >= 0 && at + bytes.Length <= data.Length then
            Array.blit bytes 0 data at bytes.Length

    let structures, addresses = structures data, addresses data

    let anAddress () =
        match random.Next 8 with
        | 0 -> UInt64.MaxValue
        | 1 -> uint64 data.Length - uint64 (random.Next 16)
        | 2 -> uint64 data.Length + uint64 (random.Next 1000)
        | 3 -> uint64 (random.Next data.Length)
        | 4 when addresses.Length > 0 -> BitConverter.ToUInt64(data, pick random addresses)
        | _ when structures.Length > 0 -> uint64 (pick random structures)
        | _ -> 96UL

    match random.Next 12 with
    | 0
    | 1
    | 2 when addresses.Length > 0 ->
        // An address of something else: of the structure that it stands in, of its parent, of nothing.
        let at = pick random addresses

        let value =
            if random.Next 4 = 0 then
                match structures |> Array.filter (fun s -> s <= at) with
                | [||] -> anAddress ()
                | before -> uint64 (Array.max before)
            else
                anAddress ()

        put at (BitConverter.GetBytes value)
    | 3
    | 4 ->
        // A message of another kind, or size.
        match messages data with
        | [||] -> ()
        | all ->
            let struct (at, isNew) = pick random all

            let kind =
                byte (pick random [| 2; 6; 7; 8; 9; 10; 11; 12; 16; 17; 3; 1; 0; 5; 24 |])

            match random.Next 4 with
            | 0 -> put (at + (if isNew then 1 else 2)) (BitConverter.GetBytes(uint16 (random.Next 600)))
            | 1 -> put (at + (if isNew then 3 else 4)) [| byte (random.Next 256) |]
            | _ -> put at [| kind |]
    | 5
    | 6 when structures.Length > 0 ->
        // Kind, level, count, size of a node.
        let at = pick random structures + 4 + random.Next 12

        match random.Next 3 with
        | 0 -> put at [| byte (random.Next 256) |]
        | 1 -> put at (BitConverter.GetBytes(uint16 (pick random [| 0; 1; 2; 255; 32767; 65535 |])))
        | _ ->
            put
                at
                (BitConverter.GetBytes(
                    pick random [| 0UL; 1UL; 1UL <<< 31; 1UL <<< 40; UInt64.MaxValue; uint64 data.Length |]
                ))
    | 7 ->
        // A name becomes another one of the file: links that lead to themselves and to each other.
        match names data with
        | [||] -> ()
        | all ->
            let struct (at, length) = pick random all
            let struct (from, size) = pick random all

            put
                at
                (Array.append
                    data[from .. from + min size length - 1]
                    (if size < length then [| 0uy |] else [||]))
    | 8 ->
        // The content of a message: layout, filters, links begin with a version and a class.
        match messages data with
        | [||] -> ()
        | all ->
            let struct (at, isNew) = pick random all
            put (at + (if isNew then 4 else 8) + random.Next 12) [| byte (random.Next 5) |]
    | 9 when structures.Length > 1 ->
        // A structure in the place of another.
        let at, from = pick random structures, pick random structures
        let length = min (8 + random.Next 64) (data.Length - max at from)
        put at data[from .. from + length - 1]
    | 10 ->
        // A filter: deflate, shuffle, fletcher, szip, nbit, scale-offset, one that nobody knows.
        match messages data |> Array.filter (fun (struct (at, _)) -> data[at] = 11uy) with
        | [||] -> ()
        | all ->
            let struct (at, isNew) = pick random all
            let start = at + (if isNew then 4 else 8)

            put
                (start + (if random.Next 2 = 0 then 2 else 8))
                (BitConverter.GetBytes(uint16 (pick random [| 0; 1; 2; 3; 4; 5; 6; 32000; 65535 |])))

            if random.Next 3 = 0 then
                put (start + 1) [| byte (random.Next 256) |]
    | _ ->
        // A size of a dimension, a chunk or a string.
        let at = 8 * random.Next(data.Length / 8)

        put
            at
            (BitConverter.GetBytes(
                pick
                    random
                    [|
                        0UL
                        1UL
                        3UL
                        255UL
                        1UL <<< 20
                        1UL <<< 31
                        1UL <<< 33
                        1UL <<< 62
                        UInt64.MaxValue
                    |]
            ))

    data

/// A few changes.
let structure (random: Random) (data: byte[]) : byte[] =
    (data, [ 1 .. 1 + random.Next 3 ])
    ||> List.fold (fun data _ -> change random data)
