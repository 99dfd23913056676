namespace Ldr

/// The picture of a run: some test pairs, registered by its last model.
module internal RunPicture =
    /// Test pairs in the picture.
    let private most = 3

    let write (plan: RunPlan) (data: RunData) (model: Model) =
        let test = snd data.Tests.Head

        Picture.pairs
            (RunFolder.picturePath plan.Folder)
            [
                for f, m in List.truncate most test.Pairs do
                    let fixedScan, moving = test.Scans[f].Image, test.Scans[m].Image
                    fixedScan, moving, Registration.run plan.Options.Device model None fixedScan moving
            ]
