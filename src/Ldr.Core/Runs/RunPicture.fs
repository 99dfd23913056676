namespace Ldr

open System

/// The picture of a run: some test pairs, registered by its last model.
module internal RunPicture =
    /// Test pairs in the picture.
    let private most = 3

    let write (plan: RunPlan) (data: RunData) (model: Model) =
        let test = snd data.Tests.Head

        let pairs =
            Evaluator.registeringBy plan.Options.Device model plan.Options.Stop (fun register ->
                [
                    for f, m in List.truncate most test.Pairs ->
                        register test.Scans[f].Image test.Scans[m].Image
                ])

        try
            Picture.pairs (RunFolder.picturePath plan.Folder) pairs
        with e when (e.GetBaseException() :? DllNotFoundException) ->
            plan.Options.Sink(Cautioned "pairs.png is not drawn: this program came without libSkiaSharp")
