namespace Ldr

open System
open System.Diagnostics
open TorchSharp
open Ldr.Runtime.Geometry
open Ldr.Runtime.Transforms
open Ldr.Runtime.Registration
open Ldr.Runtime.Registration.Quality

/// Predicts deformations by libtorch: networks that the managed engine does not run, and models in training.
/// The fixed scan goes to the model's grid and intensities, the field comes back to the fixed grid.
type TorchPredictor(device: torch.Device, model: Model) =
    let card = model.Card
    let x, y, z = card.Size
    let sx, sy, sz = card.Spacing

    interface IFieldPredictor with
        member _.Alignment = card.Alignment

        member _.Training =
            TrainingRange(card.Intensity, struct (sx, sy, sz), struct (x, y, z))

        member _.Thresholds = Option.toObj card.Verdict

        member _.Predict(fixedScan, movingScan, alignment, _, cancellation) =
            let struct (alignment, initial) =
                match Option.ofNullable alignment with
                | Some Alignment.World -> struct (Alignment.World, Affine.Identity)
                | wanted ->
                    InitialAlignment.Find(fixedScan, movingScan, wanted |> Option.defaultValue card.Alignment)

            let grid = ModelGrid.Around(fixedScan.Grid, struct (sx, sy, sz), struct (x, y, z))

            let pair =
                Pairs.prepare grid initial (card.Intensity.Apply fixedScan) (card.Intensity.Apply movingScan)

            cancellation.ThrowIfCancellationRequested()
            let clock = Stopwatch.StartNew()

            let vectors =
                use _ = torch.NewDisposeScope()
                use _ = torch.no_grad ()
                let shape = [| 1L; 1L; int64 grid.Nz; int64 grid.Ny; int64 grid.Nx |]
                let fixedImage = Bridge.toTensor device shape pair.Fixed
                let moving = Bridge.toTensor device shape pair.Moving

                let prediction =
                    NativeCalls.protect (fun () -> model.Network.Predict(fixedImage, moving))

                Bridge.toArray prediction.Field

            let network = clock.Elapsed
            let deformation = DisplacementField(grid, vectors).ResampleTo fixedScan.Grid
            let field = deformation.After initial
            clock.Restart()
            let moved = Warp.Linear(movingScan, field)
            FieldPrediction(field, deformation, initial, alignment, moved, network, clock.Elapsed)

module ModelGrids =
    /// Refuses a fixed scan that would need too many voxels at a model's spacing: a header in metres, mostly. `name` is the
    /// scan in the message.
    let check (card: ModelCard) (name: string) (fixedGrid: Grid) : unit =
        let x, y, z = card.Size
        let sx, sy, sz = card.Spacing

        let count = ModelGrid.CountAround(fixedGrid, struct (sx, sy, sz), struct (x, y, z))

        let most = ModelGrid.MostVoxelsFor fixedGrid

        if count > float most then
            raise (
                Error.Raised(
                    BadFile(
                        name,
                        $"would need %.3g{count} voxels at the model's spacing, more than {most}",
                        "check its voxel size and units"
                    )
                )
            )
