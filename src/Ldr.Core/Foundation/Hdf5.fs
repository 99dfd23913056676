namespace Ldr

open System
open System.IO
open PureHDF
open Ldr.Runtime.Formats

/// Opens HDF5 files that may be damaged. PureHDF takes as much memory as a length in the file asks for, up to 2 GB, before it
/// finds that the file is shorter. The lengths of this kind are checked first: those of objects in global heaps and of names in
/// link messages. Source: HDF5 File Format Specification, version 3.
module internal Hdf5 =
    /// Larger files are not looked through: the 2 GB are no longer out of proportion to them.
    let private mostBytes = 16L <<< 20

    let private damaged path what =
        raise (InvalidFileException(path, $"is a damaged HDF5 file ({what})", "copy or download it again"))

    /// A little-endian number of so many bytes.
    let private number (bytes: ReadOnlySpan<byte>) (place: int64) (size: int) : uint64 =
        let mutable value = 0UL

        for i in size - 1 .. -1 .. 0 do
            value <- (value <<< 8) ||| uint64 bytes[int place + i]

        value

    /// The objects of a global heap lie inside it ("GCOL": version, 3 bytes, size; objects of index, count, 4 bytes, size, data).
    let private checkHeap path (bytes: byte[]) (start: int64) =
        let number place size = number (ReadOnlySpan bytes) place size
        let length = number (start + 8L) 8

        if length > uint64 (bytes.LongLength - start) then
            damaged path $"it is cut off inside a heap of {length} bytes"

        let last = start + int64 length

        let rec objects (place: int64) =
            if place + 16L <= last && number place 2 <> 0UL then
                let size = number (place + 8L) 8

                if size > uint64 (last - place - 16L) then
                    damaged path $"it declares an object of {size} bytes in a heap of {length}"

                objects (place + 16L + (int64 size + 7L) / 8L * 8L)

        objects (start + 16L)

    /// The name of a link lies inside its message (version, flags, then what the flags say).
    let private checkLink path (bytes: byte[]) (start: int64) (size: int64) =
        let flags = if size > 1L then int bytes[int start + 1] else 0

        let has bit length =
            if flags &&& bit <> 0 then length else 0L

        let width = 1 <<< (flags &&& 3)
        let place = 2L + has 8 1L + has 4 8L + has 16 1L

        if place + int64 width <= size then
            let name = number (ReadOnlySpan bytes) (start + place) width

            if name > uint64 (size - place) then
                damaged path $"it declares a name of {name} bytes in a message of {size}"

    /// The messages of an object header (type, size, flags, and an order where it is kept), and of its continuations.
    let rec private checkMessages path (bytes: byte[]) ordered depth (start: int64) (length: int64) =
        let last = start + length
        let head = if ordered then 6L else 4L
        let mutable place = start

        while place + head <= last do
            let kind = bytes[int place]
            let size = int64 (number (ReadOnlySpan bytes) (place + 1L) 2)
            let data = place + head

            if data + size > last then
                damaged path $"it declares a message of {size} bytes in a header of {length}"

            match kind with
            | 6uy -> checkLink path bytes data size
            | 16uy when size >= 16L && depth < 16 ->
                let address = number (ReadOnlySpan bytes) data 8
                let more = number (ReadOnlySpan bytes) (data + 8L) 8
                let all = uint64 bytes.LongLength

                if address > all || more > all - address || more < 8UL then
                    damaged path "a header goes on beyond the file's end"

                // "OCHK", the messages, a checksum.
                checkMessages path bytes ordered (depth + 1) (int64 address + 4L) (int64 more - 8L)
            | _ -> ()

            place <- data + size

    /// A header of version 2 ("OHDR": version, flags, then what the flags say, size, messages).
    let private checkHeader path (bytes: byte[]) (start: int64) =
        let flags = int bytes[int start + 5]

        let has bit length =
            if flags &&& bit <> 0 then length else 0L

        let width = 1 <<< (flags &&& 3)
        let place = start + 6L + has 32 16L + has 16 4L

        if place + int64 width <= bytes.LongLength then
            let length = number (ReadOnlySpan bytes) place width
            let first = place + int64 width

            if length > uint64 (bytes.LongLength - first) then
                damaged path $"it is cut off inside a header of {length} bytes"

            checkMessages path bytes (flags &&& 4 <> 0) 0 first (int64 length)

    let private check (path: string) (bytes: byte[]) =
        let each (signature: byte[]) (version: byte) (inspect: int64 -> unit) =
            let mutable from = 0
            let mutable go = true

            while go do
                match bytes.AsSpan(from).IndexOf(ReadOnlySpan signature) with
                | -1 -> go <- false
                | found ->
                    let start = from + found

                    if start + 16 <= bytes.Length && bytes[start + 4] = version then
                        inspect (int64 start)

                    from <- start + 4

        each "GCOL"B 1uy (checkHeap path bytes)
        each "OHDR"B 2uy (checkHeader path bytes)

    /// Opens a file for reading. Raises `InvalidFileException` for one that is damaged or names other files, and whatever PureHDF
    /// does.
    let openRead (path: string) =
        InputFile.Check path

        if FileInfo(path).Length <= mostBytes then
            check path (File.ReadAllBytes path)

        if InputFile.AllowsOutside then
            H5File.OpenRead path
        else
            Hdf5Structure.check path
            H5File.Open(new GuardedStream(path, File.OpenRead path), false)
