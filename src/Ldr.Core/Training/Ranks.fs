namespace Ldr

open System
open System.IO

/// The processes that train one network together. Each works on its share of the batches of a step; all hold the same weights, since
/// all move by the same gradient. Every rank calls the same members in the same order.
[<AbstractClass>]
type Ranks(rank: int, count: int) =
    /// The number of this process, from 0.
    member _.Rank = rank

    /// How many there are.
    member _.Count = count

    /// Whether this one writes files and talks.
    member _.IsFirst = (rank = 0)

    /// What every rank says, in their order. Returns when all have spoken.
    abstract Gather: byte[] -> byte[] list

    /// The sum of all vectors of all ranks, one vector added after the other: those of the first rank, then those of the next. So the
    /// bits do not depend on the number of ranks. All vectors have one length, and every rank has as many.
    abstract Sum: float32[] list -> float32[]

    /// Ends all ranks at once, with an exit code: this one cannot go on, and the others would wait for it.
    abstract Abort: int -> unit

module Ranks =
    /// One process by itself.
    let alone: Ranks =
        { new Ranks(0, 1) with
            member _.Gather said = [ said ]

            member _.Sum vectors = vectors |> List.reduce (Array.map2 (+))

            member _.Abort _ = ()
        }

    /// Waits until all are here.
    let meet (ranks: Ranks) : unit = ranks.Gather [||] |> ignore

    /// Whether any of them says so.
    let any (ranks: Ranks) (own: bool) : bool =
        if ranks.Count = 1 then
            own
        else
            ranks.Gather [| Convert.ToByte own |]
            |> List.exists (fun said -> said[0] <> 0uy)

    let private toBytes (reports: Metrics list) : byte[] =
        use stream = new MemoryStream()
        use writer = new BinaryWriter(stream)

        for report in reports do
            writer.Write report.Length

            for name, value in report do
                writer.Write name
                writer.Write value

        writer.Flush()
        stream.ToArray()

    let private ofBytes (bytes: byte[]) : Metrics list =
        use reader = new BinaryReader(new MemoryStream(bytes))

        [
            while reader.BaseStream.Position < reader.BaseStream.Length do
                [
                    for _ in 1 .. reader.ReadInt32() do
                        let name = reader.ReadString()
                        name, reader.ReadDouble()
                ]
        ]

    /// The reports of all ranks, in their order.
    let reports (ranks: Ranks) (own: Metrics list) : Metrics list =
        if ranks.Count = 1 then
            own
        else
            ranks.Gather(toBytes own) |> List.collect ofBytes

    /// What the first rank finds out, told to all.
    let ofFirst (ranks: Ranks) (find: unit -> Metrics) : Metrics =
        let own = if ranks.IsFirst then [ find () ] else []
        reports ranks own |> List.head
