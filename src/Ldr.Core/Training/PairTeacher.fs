namespace Ldr

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

    /// Fields that were made before.
    let stored (set: TrainingSet) (store: FieldStore) : PairTeacher =
        fun (f, m) pair -> FieldStore.read store (set.Names[f], set.Names[m]) pair

    /// Whether a store has a field of ours for a pair.
    let isKept (set: TrainingSet) (store: FieldStore) (f: int, m: int) =
        FieldStore.has store (set.Names[f], set.Names[m])

    /// Asks a teacher once for each pair, and keeps the fields in a store, in half precision; what comes out is what the store
    /// has, so that it is the same each time.
    let kept (set: TrainingSet) (store: FieldStore) (teacher: PairTeacher) : PairTeacher =
        fun (f, m) pair ->
            if not (isKept set store (f, m)) then
                FieldStore.write store (set.Names[f], set.Names[m]) pair.Grid (teacher (f, m) pair)

            stored set store (f, m) pair
