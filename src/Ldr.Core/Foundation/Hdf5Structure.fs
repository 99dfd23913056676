namespace Ldr

open System
open System.Collections.Concurrent
open System.Collections.Generic
open System.IO
open System.Text
open Ldr.Runtime.Formats

/// Looks through the groups of an HDF5 file before another library opens it. Promises: a file that passes names no other file
/// (external links, external storage, virtual data sets), unless `InputFile.OutsideVariable` is set; its groups' B-trees are
/// trees; no soft link leads through another one; and the work is bounded by the file's size. Source: HDF5 File
/// Format Specification, version 3.
module internal Hdf5Structure =
    /// Where a link leads.
    type private Link =
        | Hard of header: uint64
        | Soft of path: string

    let private undefined = UInt64.MaxValue
    let private signature = [| 0x89uy; 72uy; 68uy; 70uy; 13uy; 10uy; 26uy; 10uy |]

    /// A file with what has been seen of it.
    [<NoEquality; NoComparison>]
    type private Walk =
        {
            Path: string
            File: Stream
            mutable Base: uint64
            /// Bytes that may still be read.
            mutable Budget: int64
            /// Addresses of headers, nodes and continuations that have been read.
            Seen: HashSet<uint64>
            /// Headers that are still to be read.
            Headers: Queue<uint64>
            /// B-trees of groups that are still to be read: group, tree, heap.
            Tables: Queue<uint64 * uint64 * uint64>
            /// The group and the heap of each B-tree.
            Owners: Dictionary<uint64, uint64 * uint64>
            /// The links of each group, by its header: name and target.
            Links: Dictionary<uint64, ResizeArray<string * Link>>
        }

    let private damaged (walk: Walk) what =
        raise (
            InvalidFileException(walk.Path, $"is a damaged HDF5 file ({what})", "copy or download it again")
        )

    let private outside (walk: Walk) what =
        raise (
            InvalidFileException(
                walk.Path,
                $"is an HDF5 file that {what}",
                $"write it as one file, or set {InputFile.OutsideVariable}=1 if you trust it"
            )
        )

    let private spend (walk: Walk) (cost: int64) =
        walk.Budget <- walk.Budget - cost

        if walk.Budget < 0L then
            damaged walk "its structure is out of proportion to its size"

    let private read (walk: Walk) (address: uint64) (count: uint64) : byte[] =
        let length = uint64 walk.File.Length
        let start = address + walk.Base

        if start < address || start > length || count > length - start then
            damaged walk "an address leads beyond the file's end"

        spend walk (int64 count + 16L)
        walk.File.Position <- int64 start
        let bytes = Array.zeroCreate (int count)
        walk.File.ReadExactly(bytes, 0, bytes.Length)
        bytes

    /// A little-endian number of so many bytes.
    let private number (walk: Walk) (bytes: byte[]) (place: int) (size: int) : uint64 =
        if place < 0 || place + size > bytes.Length then
            damaged walk "a record is cut off"

        let mutable value = 0UL

        for i in size - 1 .. -1 .. 0 do
            value <- (value <<< 8) ||| uint64 bytes[place + i]

        value

    let private isSigned (text: string) (bytes: byte[]) =
        bytes.AsSpan(0, 4).SequenceEqual(ReadOnlySpan(Encoding.ASCII.GetBytes text))

    let private addLink (walk: Walk) (group: uint64) (name: string) (link: Link) =
        match walk.Links.TryGetValue group with
        | true, links -> links.Add(name, link)
        | _ -> walk.Links[group] <- ResizeArray [ name, link ]

        match link with
        | Hard header when header <> undefined -> walk.Headers.Enqueue header
        | _ -> ()

    let private textAt (walk: Walk) (heap: byte[]) (offset: uint64) : string =
        if offset >= uint64 heap.Length then
            damaged walk "a name lies outside its heap"

        let start = int offset
        let stop = Array.IndexOf(heap, 0uy, start)
        Encoding.UTF8.GetString(heap, start, (if stop < 0 then heap.Length else stop) - start)

    /// The data of a local heap.
    let private heapOf (walk: Walk) (address: uint64) : byte[] =
        let head = read walk address 32UL

        if not (isSigned "HEAP" head) then
            damaged walk "a heap of names is missing"

        read walk (number walk head 24 8) (number walk head 8 8)

    /// A B-tree of a group, to be read later. One tree belongs to one group.
    let private addTable (walk: Walk) (group: uint64) (tree: uint64) (heap: uint64) =
        match walk.Owners.TryGetValue tree with
        | true, owner when owner = (group, heap) -> ()
        | true, _ -> damaged walk "two groups have one B-tree"
        | _ ->
            walk.Owners[tree] <- (group, heap)
            walk.Tables.Enqueue(group, tree, heap)

    /// The links of a symbol table's node: name, header, what is cached, and a scratch pad.
    let private symbols (walk: Walk) (group: uint64) (heap: byte[]) (address: uint64) =
        let head = read walk address 8UL

        if not (isSigned "SNOD" head) then
            damaged walk "a symbol table is missing"

        let count = number walk head 6 2
        let entries = read walk (address + 8UL) (count * 40UL)

        for i in 0 .. int count - 1 do
            let at place size =
                number walk entries (i * 40 + place) size

            let name = textAt walk heap (at 0 8)

            if at 16 4 = 2UL then
                addLink walk group name (Soft(textAt walk heap (at 24 4)))
            else
                let header = at 8 8
                addLink walk group name (Hard header)

                if at 16 4 = 1UL then
                    addTable walk header (at 24 8) (at 32 8)

    /// A group's B-tree, from its root on: signature, kind, level, count, two neighbours; then a key (8 bytes) before each child.
    let private table (walk: Walk) (group: uint64, tree: uint64, heap: uint64) =
        let names = heapOf walk heap
        let nodes = Stack [ struct (tree, -1) ]

        while nodes.Count > 0 do
            let struct (address, wanted) = nodes.Pop()

            if not (walk.Seen.Add address) then
                damaged walk "a node of a B-tree is met twice"

            let head = read walk address 24UL
            let level, count = int head[5], number walk head 6 2

            if not (isSigned "TREE" head) || head[4] <> 0uy || (wanted >= 0 && level <> wanted) then
                damaged walk "the B-tree of a group is no tree"

            let rest = read walk (address + 24UL) (count * 16UL + 8UL)

            for i in 0 .. int count - 1 do
                let child = number walk rest (i * 16 + 8) 8

                if level > 0 then nodes.Push(struct (child, level - 1))
                elif walk.Seen.Add child then symbols walk group names child
                else damaged walk "a node of a B-tree is met twice"

    /// A link message: version, flags, then what the flags say.
    let private linkMessage (walk: Walk) (group: uint64) (data: byte[]) =
        let number = number walk data
        let flags = int (number 1 1)
        let has bit size = if flags &&& bit <> 0 then size else 0
        let kind = if flags &&& 8 <> 0 then number 2 1 else 0UL
        let width = 1 <<< (flags &&& 3)
        let place = 2 + has 8 1 + has 4 8 + has 16 1
        let length = number place width
        let start = place + width

        if length > uint64 (data.Length - start) then
            damaged walk $"it declares a name of {length} bytes in a message of {data.Length}"

        let name = Encoding.UTF8.GetString(data, start, int length)
        let info = start + int length

        match kind with
        | 0UL -> addLink walk group name (Hard(number info 8))
        | 1UL ->
            let size = number info 2

            if size > uint64 (data.Length - info - 2) then
                damaged walk "a soft link is cut off"

            addLink walk group name (Soft(Encoding.UTF8.GetString(data, info + 2, int size)))
        | _ -> outside walk $"links to another file (\"{name}\")"

    /// A message that says where links or values are; the continuations of a header are given back.
    let private message (walk: Walk) (header: uint64) (kind: int) (flags: int) (data: byte[]) =
        let number = number walk data

        // Messages of these kinds are never shared.
        if flags &&& 2 <> 0 && List.contains kind [ 2; 6; 7; 8; 16; 17 ] then
            damaged walk "a message is shared that may not be"

        match kind with
        | 2 ->
            let place = 2 + (if number 1 1 &&& 1UL <> 0UL then 8 else 0)

            if number place 8 <> undefined || number (place + 8) 8 <> undefined then
                outside walk "keeps the links of a group in a heap, where they cannot be checked"
        | 6 -> linkMessage walk header data
        | 7 -> outside walk "keeps its values in other files"
        | 8 ->
            let kind = if number 0 1 >= 3UL then number 1 1 else number 2 1

            if kind = 3UL then
                outside walk "takes its values from other data sets"
        | 17 -> addTable walk header (number 0 8) (number 8 8)
        | _ -> ()

    /// The messages of a block; the blocks that go on from it.
    let private block
        (walk: Walk)
        (header: uint64)
        (isNew: bool)
        (ordered: bool)
        (bytes: byte[])
        : (uint64 * uint64) list =
        let head =
            if not isNew then 8
            elif ordered then 6
            else 4

        let mutable place = 0
        let mutable more = []

        while place + head <= bytes.Length do
            let start = place

            let number offset size = number walk bytes (start + offset) size

            let kind, size, flags =
                if isNew then
                    number 0 1, number 1 2, number 3 1
                else
                    number 0 2, number 2 2, number 4 1

            if int size > bytes.Length - place - head then
                damaged walk $"it declares a message of {size} bytes in a header of {bytes.Length}"

            let data = bytes[place + head .. place + head + int size - 1]
            message walk header (int kind) (int flags) data

            if kind = 16UL && data.Length >= 16 then
                more <- (BitConverter.ToUInt64(data, 0), BitConverter.ToUInt64(data, 8)) :: more

            place <- place + head + int size

        more

    /// The header of an object, with all its continuations.
    let private header (walk: Walk) (address: uint64) =
        let left =
            uint64 walk.File.Length - min (uint64 walk.File.Length) (address + walk.Base)

        let head = read walk address (max 12UL (min 16UL left))
        let isNew = isSigned "OHDR" head
        let flags = int head[5]

        let start, length =
            if isNew then
                let has bit size = if flags &&& bit <> 0 then size else 0
                let place = 6 + has 32 16 + has 16 4
                let width = 1 <<< (flags &&& 3)
                let length = read walk (address + uint64 place) (uint64 width)
                address + uint64 (place + width), number walk length 0 width
            elif head[0] = 1uy then
                address + 16UL, number walk head 8 4
            else
                damaged walk "the header of an object is missing"

        let ordered = isNew && flags &&& 4 <> 0
        let blocks = Stack [ start, length ]

        while blocks.Count > 0 do
            let start, length = blocks.Pop()

            for place, size in block walk address isNew ordered (read walk start length) do
                if not (walk.Seen.Add place) then
                    damaged walk "a part of a header is met twice"

                if not isNew then
                    blocks.Push(place, size)
                elif size >= 8UL then
                    // "OCHK", the messages, a checksum.
                    blocks.Push(place + 4UL, size - 8UL)

    /// Where the superblock is, and the root group's header that it names.
    let private root (walk: Walk) : uint64 =
        let places = Seq.initInfinite (fun i -> if i = 0 then 0UL else 256UL <<< i)

        let place =
            places
            |> Seq.takeWhile (fun place -> place + 96UL <= uint64 walk.File.Length)
            |> Seq.tryFind (fun place -> (read walk place 8UL).AsSpan().SequenceEqual(ReadOnlySpan signature))

        match place with
        | None -> damaged walk "it has no superblock"
        | Some place ->
            let bytes = read walk place 96UL
            let number = number walk bytes
            let version = int bytes[8]
            let sizes = if version < 2 then 13 else 9

            if version > 3 || bytes[sizes] <> 8uy || bytes[sizes + 1] <> 8uy then
                damaged walk "its superblock is of no known form"

            if version >= 2 then
                walk.Base <- number 12 8
                number 36 8
            else
                let start = if version = 0 then 24 else 28
                walk.Base <- number start 8
                let entry = start + 32
                let header = number (entry + 8) 8

                if entry + 40 <= bytes.Length && number (entry + 16) 4 = 1UL then
                    addTable walk header (number (entry + 24) 8) (number (entry + 32) 8)

                header

    /// A soft link that leads to another one may lead back.
    let private checkSoft (walk: Walk) (root: uint64) (group: uint64) (path: string) =
        let rec follow (group: uint64) (names: string list) =
            match names, walk.Links.TryGetValue group with
            | name :: rest, (true, links) ->
                spend walk (int64 links.Count)

                for own, link in links do
                    if own = name then
                        match link with
                        | Soft _ -> damaged walk "a soft link leads through another one"
                        | Hard header -> follow header rest
            | _ -> ()

        let names = path.Split('/', StringSplitOptions.RemoveEmptyEntries) |> List.ofArray
        follow (if path.StartsWith '/' then root else group) names

    /// What a file with the same name, size and time was found to be.
    let private checkedBefore = ConcurrentDictionary<string * int64 * DateTime, bool>()

    let private look (path: string) =
        use file = File.OpenRead path

        let walk =
            {
                Path = path
                File = file
                Base = 0UL
                Budget = (64L <<< 20) + 4L * file.Length
                Seen = HashSet()
                Headers = Queue()
                Tables = Queue()
                Owners = Dictionary()
                Links = Dictionary()
            }

        let root = root walk
        walk.Headers.Enqueue root

        while walk.Headers.Count + walk.Tables.Count > 0 do
            while walk.Tables.Count > 0 do
                table walk (walk.Tables.Dequeue())

            if walk.Headers.Count > 0 then
                let next = walk.Headers.Dequeue()

                if walk.Seen.Add next then
                    header walk next

        for KeyValue(group, links) in walk.Links do
            for _, link in links do
                match link with
                | Soft path -> checkSoft walk root group path
                | Hard _ -> ()

    /// Raises `InvalidFileException` for a file that does not keep the promises.
    let check (path: string) =
        let info = FileInfo path
        let key = info.FullName, info.Length, info.LastWriteTimeUtc

        if not (checkedBefore.ContainsKey key) then
            look path
            checkedBefore[key] <- true

/// A file that is read by another library. Promises: what is read is bounded by the file's size, and a structure that leads back to
/// itself ends with an exception, not with the stack.
type internal GuardedStream(path: string, inner: Stream) =
    inherit Stream()

    let mutable budget = (64L <<< 20) + 256L * inner.Length

    let spend (count: int) =
        budget <- budget - int64 count - 1L

        if
            budget < 0L
            || not (System.Runtime.CompilerServices.RuntimeHelpers.TryEnsureSufficientExecutionStack())
        then
            raise (
                InvalidFileException(
                    path,
                    "is a damaged HDF5 file (its structure leads back to itself)",
                    "copy or download it again"
                )
            )

        count

    override _.CanRead = true
    override _.CanSeek = true
    override _.CanWrite = false
    override _.Length = inner.Length

    override _.Position
        with get () = inner.Position
        and set value = inner.Position <- value

    override _.Read(buffer: byte[], offset: int, count: int) : int =
        spend (inner.Read(buffer, offset, count))

    override _.Read(buffer: Span<byte>) : int = spend (inner.Read(buffer))
    override _.Seek(offset, origin) = inner.Seek(offset, origin)
    override _.Flush() = ()
    override _.SetLength _ = raise (NotSupportedException())
    override _.Write(_: byte[], _: int, _: int) = raise (NotSupportedException())

    override _.Dispose(disposing: bool) =
        if disposing then
            inner.Dispose()
