namespace Ldr

open TorchSharp
open Ldr.Runtime.Geometry

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

    /// Fields that were made before. A missing one is bad input.
    let stored (set: TrainingSet) (store: FieldStore) : PairTeacher =
        fun own pair -> FieldStore.read store (namesOf set own) pair |> Error.orRaise

    /// Whether a store has a field of ours for a pair.
    let isKept (set: TrainingSet) (store: FieldStore) (own: int * int) =
        FieldStore.has store (namesOf set own)

    /// Writes a teacher's field of a pair into a store, in half precision.
    let keep
        (set: TrainingSet)
        (store: FieldStore)
        (teacher: PairTeacher)
        (own: int * int)
        (pair: PreparedPair)
        =
        FieldStore.write store (namesOf set own) pair.Grid (teacher own pair)

    /// Asks a teacher once for each pair, and keeps the fields in a store; what comes out is what the store has, so that it is
    /// the same each time.
    let kept (set: TrainingSet) (store: FieldStore) (teacher: PairTeacher) : PairTeacher =
        fun own pair ->
            if not (isKept set store own) then
                keep set store teacher own pair

            stored set store own pair
