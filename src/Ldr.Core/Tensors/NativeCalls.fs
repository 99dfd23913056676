namespace Ldr

open System
open System.Runtime

/// Protection of calls into libtorch from the garbage collector.
module NativeCalls =
    /// What a step or a prediction may allocate on the managed heap, bytes: wrappers; the arrays of a batch come before.
    let private budget = 96L <<< 20

    /// Runs an action without garbage collections. TorchSharp's scalars (the 0.1 of `leaky_relu_ 0.1`, all those inside its
    /// optimisers) have finalisers, and nothing keeps them alive during the native call that uses them: a collection at that
    /// moment frees the number under it, which was seen as a rare "Expected false to be true" in the middle of a training.
    /// Collections happen before and after instead. An action that allocates more than the budget is not protected to its end.
    let protect (action: unit -> 'a) : 'a =
        let entered =
            GCSettings.LatencyMode <> GCLatencyMode.NoGCRegion
            && GC.TryStartNoGCRegion budget

        try
            action ()
        finally
            if entered && GCSettings.LatencyMode = GCLatencyMode.NoGCRegion then
                GC.EndNoGCRegion()
