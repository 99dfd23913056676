namespace Ldr

open System.IO
open TorchSharp
open Ldr.Runtime

/// Makes the field of a pair of a training set's subjects (fixed and moving, by their places in the set), prepared for training:
/// [3, Z, Y, X] in voxels of the pair's grid, after its initial alignment.
type PairTeacher = int * int -> PreparedPair -> float32[]

module PairTeacher =
    /// Each pair by itself, see `OptimisedField`.
    let optimisation: PairTeacher = fun _ pair -> OptimisedField.ofPair pair

    /// A network, which is on this device.
    let network (device: torch.Device) (network: Network) : PairTeacher =
        fun _ pair ->
            use _ = torch.NewDisposeScope()
            use _ = torch.no_grad ()
            let grid = pair.Grid
            let shape = [| 1L; 1L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]
            let fixedImage = Bridge.toTensor device shape pair.Fixed
            let moving = Bridge.toTensor device shape pair.Moving
            Bridge.toArray (NativeCalls.protect (fun () -> network.Predict(fixedImage, moving))).Field

    let private namesOf (set: TrainingSet) (f: int, m: int) = set.Names[f], set.Names[m]

    /// Whether a store has a teacher's field of a pair.
    let isKept (set: TrainingSet) (store: FieldStore) (own: int * int) =
        FieldStore.has store (namesOf set own)

    /// Fields that were made before.
    let stored (set: TrainingSet) (store: FieldStore) : PairTeacher =
        fun own pair -> FieldStore.read store (namesOf set own) pair.Grid pair.Initial

    /// Asks a teacher once for each pair, and keeps the fields in a store, in half precision; what comes out is what the store
    /// has, so that it is the same each time.
    let kept (set: TrainingSet) (store: FieldStore) (teacher: PairTeacher) : PairTeacher =
        fun own pair ->
            if not (isKept set store own) then
                FieldStore.write store (namesOf set own) pair.Grid (teacher own pair)

            stored set store own pair

    /// The subjects that pairs are taken through: `count` of a set, always the same ones.
    let private between (count: int) (set: TrainingSet) : int list =
        Seed.ofInt 0
        |> Seed.split "through"
        |> Seed.permutation set.Names.Length
        |> Seq.truncate count
        |> List.ofSeq

    /// What several ways from the fixed to the moving scan agree on: the mean of the teacher's own field of a pair and of those
    /// that lead through `count` further subjects, each composed of the teacher's fields of (fixed, between) and (between,
    /// moving), which `legs` keeps. The errors of the ways differ, and their mean has less of them.
    let consensus (set: TrainingSet) (count: int) (legs: FieldStore) (teacher: PairTeacher) : PairTeacher =
        let through = between count set
        let ask = kept set legs teacher

        let leg own =
            let grid, initial = TrainingSet.lay set own

            let field =
                if isKept set legs own then
                    FieldStore.read legs (namesOf set own) grid initial
                else
                    ask own (TrainingSet.pair set own)

            DisplacementField(grid, field), initial

        fun (f, m) pair ->
            let back = pair.Initial.Inverse()

            let composed c =
                let first, initial = leg (f, c)
                let second, further = leg (c, m)
                first.Then(initial, second).After(further.Then back).Vectors

            let sum = ask (f, m) pair
            let ways = through |> List.filter (fun c -> c <> f && c <> m)

            for c in ways do
                let vectors = composed c

                for i in 0 .. sum.Length - 1 do
                    sum[i] <- sum[i] + vectors[i]

            let count = float32 (1 + ways.Length)
            sum |> Array.map (fun v -> v / count)

    /// A teacher, or its consensus, and the store of its fields in a folder; what a consensus is composed of goes into the
    /// folder `legs` in it.
    let withStore (set: TrainingSet) (folder: string) (origin: StoreOrigin) (teacher: PairTeacher) =
        let store = FieldStore.create folder origin

        match origin.Through with
        | None -> teacher, store
        | Some count ->
            let legs =
                FieldStore.create (Path.Combine(folder, "legs")) { origin with Through = None }

            consensus set count legs teacher, store
