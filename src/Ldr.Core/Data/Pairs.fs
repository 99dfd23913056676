namespace Ldr

open System
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms

/// Two scans on one grid: what a network sees, x fastest.
[<NoEquality; NoComparison>]
type PreparedPair =
    {
        Grid: Grid
        Fixed: float32[]
        Moving: float32[]
        /// 1 inside the fixed scan, 0 where its border was continued.
        Inside: float32[]
        /// Fixed world to moving world, mm.
        Initial: Affine
    }

module Pairs =
    /// 1 at the voxels of a grid that lie inside a scan's outermost voxels, else 0.
    let inside (grid: Grid) (scan: Grid) : float32[] =
        let values: float32[] = Array.zeroCreate (int grid.Count)
        let map = grid.VoxelToWorld.Then scan.WorldToVoxel
        let rx, ry, rz = map[0, 0], map[1, 0], map[2, 0]

        let lx, ly, lz = float scan.Nx - 0.5, float scan.Ny - 0.5, float scan.Nz - 0.5

        for z in 0 .. grid.Nz - 1 do
            for y in 0 .. grid.Ny - 1 do
                // The map is affine: a step along a row is always the same.
                let struct (x0, y0, z0) = map.Apply(0.0, float y, float z)
                let row = (z * grid.Ny + y) * grid.Nx

                let isInside (x: int) =
                    let vx = x0 + rx * float x
                    let vy = y0 + ry * float x
                    let vz = z0 + rz * float x
                    vx > -0.5 && vx < lx && vy > -0.5 && vy < ly && vz > -0.5 && vz < lz

                // What is inside of a row has no gap.
                let mutable first, last = 0, grid.Nx - 1

                while first <= last && not (isInside first) do
                    first <- first + 1

                while last > first && not (isInside last) do
                    last <- last - 1

                if first <= last then
                    values.AsSpan(row + first, last - first + 1).Fill 1.0f

        values

    /// Both scans on a grid around the fixed one, by interpolation, continued at their borders. `initial` maps fixed world
    /// to moving world.
    let prepare (grid: Grid) (initial: Affine) (fixedImage: Volume) (movingImage: Volume) : PreparedPair =
        {
            Grid = grid
            Fixed = Warp.Resample(fixedImage, grid, Affine.Identity).Values
            Moving = Warp.Resample(movingImage, grid, initial).Values
            Inside = inside grid fixedImage.Grid
            Initial = initial
        }

    /// The fixed and the moving subject of the i-th training pair of all: any two different ones of `count`.
    let training (seed: Seed) (count: int) (index: int) =
        let own = seed |> Seed.split "pairs" |> Seed.at index
        let fixedIndex = own |> Seed.split "fixed" |> Seed.next count
        let other = own |> Seed.split "moving" |> Seed.next (count - 1)
        fixedIndex, (if other >= fixedIndex then other + 1 else other)

    /// Pairs of which a whole order is drawn in memory; of more, only what is wanted.
    let private mostOrdered = 4_000_000L

    /// `wanted` different numbers in [0, count), in a random order.
    let private places (seed: Seed) (count: int64) : int64 seq =
        if count <= mostOrdered then
            Seed.permutation (int count) seed |> Seq.map int64
        else
            Seed.distinct count seed

    /// The i-th ordered pair of different ones of `count`.
    let private ordered (count: int) (i: int64) : int * int =
        let fixedIndex = int (i / int64 (count - 1))
        let other = int (i % int64 (count - 1))
        fixedIndex, (if other >= fixedIndex then other + 1 else other)

    /// `wanted` different ordered pairs of `count` subjects (all of them where there are fewer), drawn by a seed.
    let distinct (seed: Seed) (count: int) (wanted: int) : (int * int) list =
        places seed (int64 count * int64 (count - 1))
        |> Seq.truncate wanted
        |> Seq.map (ordered count)
        |> List.ofSeq

    /// The pairs of a share, as positions in its group: how many, and each by its number. They are never all in memory.
    [<NoEquality; NoComparison>]
    type private SharePairs =
        { Count: int64; At: int64 -> int * int }

    let private ofArray (pairs: (int * int)[]) : SharePairs =
        {
            Count = pairs.LongLength
            At = fun i -> pairs[int i]
        }

    let private ofShare (seed: Seed) (position: string -> int) (share: Share) : SharePairs =
        let members = share.Subjects |> List.map position |> Array.ofList

        match share.Pairing with
        | AllOrdered ->
            let isEachOnce = (Array.distinct members).Length = members.Length

            if isEachOnce then
                {
                    Count = members.LongLength * (members.LongLength - 1L)
                    At =
                        fun i ->
                            let f, m = ordered members.Length i
                            members[f], members[m]
                }
            else
                ofArray
                    [|
                        for f in members do
                            for m in members do
                                if f <> m then
                                    f, m
                    |]
        | Consecutive ->
            ofArray
                [|
                    for two in Array.chunkBySize 2 members do
                        match two with
                        | [| a; b |] ->
                            a, b
                            b, a
                        | _ -> ()
                |]
        | Atlas atlas ->
            let atlas = position atlas

            ofArray
                [|
                    for m in members do
                        if m <> atlas then
                            atlas, m
                |]
        | Listed pairs -> ofArray [| for f, m in pairs -> position f, position m |]
        | RandomPerSubject count ->
            ofArray
                [|
                    for f in members do
                        let others = members |> Array.filter (fun m -> m <> f)
                        let own = seed |> Seed.split "random" |> Seed.at f

                        for i in places own others.LongLength |> Seq.truncate count -> f, others[int i]
                |]

    let private positions (group: SubjectGroup) : string -> int =
        let known =
            group.Members |> List.mapi (fun i subject -> subject.Name, i) |> Map.ofList

        fun name -> known[name]

    /// Whether a group's pairs are all that can be made of its members.
    let private isFree (group: SubjectGroup) =
        match group.Shares with
        | [ {
                Pairing = AllOrdered
                Subjects = names
            } ] -> names = (group.Members |> List.map _.Name)
        | _ -> false

    /// The i-th training pair of a group, as positions in it: from a share by its fraction, then any pair of that.
    let draw (seed: Seed) (group: SubjectGroup) : int -> int * int =
        if isFree group then
            training seed group.Members.Length
        else
            let shares =
                [|
                    for share in group.Shares ->
                        match share.Pairing with
                        | AllOrdered ->
                            let members = share.Subjects |> List.map (positions group) |> Array.ofList

                            fun own ->
                                let f, m = training own members.Length 0
                                members[f], members[m]
                        | _ ->
                            let pairs = ofShare seed (positions group) share
                            fun own -> pairs.At(own |> Seed.split "pair" |> Seed.nextLong pairs.Count)
                |]

            let total = group.Shares |> List.sumBy _.Fraction

            let limits =
                group.Shares
                |> List.scan (fun sum share -> sum + share.Fraction / total) 0.0
                |> List.tail

            fun index ->
                let own = seed |> Seed.split "pairs" |> Seed.at index
                let place = float (own |> Seed.split "share" |> Seed.next 1_000_000) / 1e6
                let chosen = limits |> List.tryFindIndex (fun limit -> place < limit)
                shares[chosen |> Option.defaultValue (shares.Length - 1)] own

    /// `wanted` different training pairs of a group (fewer where there are not so many), drawn by a seed.
    let several (seed: Seed) (wanted: int) (group: SubjectGroup) : (int * int) list =
        if isFree group then
            distinct seed group.Members.Length wanted
        else
            // Small groups repeat themselves: after so many draws nothing new is expected.
            Seq.init (20 * wanted) (draw seed group)
            |> Seq.distinct
            |> Seq.truncate wanted
            |> List.ofSeq

    /// The pairs of a group that models are scored on, at most `wanted`.
    let evaluation (seed: Seed) (wanted: int) (group: SubjectGroup) : (int * int) list =
        let seed = seed |> Seed.split "evaluation"

        if isFree group then
            distinct seed group.Members.Length wanted
        else
            let shares = group.Shares |> List.map (ofShare seed (positions group))
            let count = shares |> List.sumBy _.Count

            if count <= mostOrdered then
                let all =
                    shares
                    |> Seq.collect (fun share -> Seq.init (int share.Count) (int64 >> share.At))
                    |> Seq.distinct
                    |> Array.ofSeq

                [ for i in Seq.truncate wanted (Seed.permutation all.Length seed) -> all[i] ]
            else
                let rec pair (shares: SharePairs list) (i: int64) =
                    match shares with
                    | first :: rest when i >= first.Count -> pair rest (i - first.Count)
                    | first :: _ -> first.At i
                    | [] -> invalidArg (nameof i) "there are not so many pairs"

                places seed count
                |> Seq.map (pair shares)
                |> Seq.distinct
                |> Seq.truncate wanted
                |> List.ofSeq
