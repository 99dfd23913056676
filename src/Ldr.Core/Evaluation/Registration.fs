namespace Ldr

open System.Diagnostics
open System.Threading
open TorchSharp
open Ldr.Runtime

/// One pair, registered.
[<NoEquality; NoComparison>]
type Registered =
    {
        /// The total displacement field on the fixed scan's grid, the initial alignment included.
        Field: DisplacementField
        /// The network's part of it.
        Deformation: DisplacementField
        /// The initial alignment: fixed world to moving world, mm.
        Initial: Affine
        Alignment: Alignment
        /// The moving scan on the fixed grid, resampled once.
        Moved: Volume
        /// Milliseconds in the network, in the last warp, and from two volumes to the moved one.
        NetworkMs: float
        WarpMs: float
        TotalMs: float
    }

module Registration =
    /// The grid that a model's network sees a fixed scan on. `name` is the scan in the message: a scan whose header makes it
    /// wildly large (a voxel size in metres) is bad input.
    let grid (card: ModelCard) (name: string) (fixedGrid: Grid) : Grid =
        let x, y, z = card.Size
        let sx, sy, sz = card.Spacing
        let spacing, size = struct (sx, sy, sz), struct (x, y, z)
        let count = ModelGrid.CountAround(fixedGrid, spacing, size)

        if count > float ModelGrid.MostVoxels then
            raise (
                Error.Raised(
                    BadFile(
                        name,
                        $"would need %.3g{count} voxels at the model's spacing, more than {ModelGrid.MostVoxels}",
                        "check its voxel size and units"
                    )
                )
            )

        ModelGrid.Around(fixedGrid, spacing, size)

    let private milliseconds (clock: Stopwatch) = clock.Elapsed.TotalMilliseconds

    /// Registers a pair of scans of any size, spacing and orientation by libtorch: both go to the model's grid and intensities, the
    /// field comes back to the fixed grid, and the original moving scan is resampled once. `alignment` is the model's unless
    /// given; scans that hardly overlap in world space are brought together by their centres.
    let run
        (device: torch.Device)
        (model: Model)
        (alignment: Alignment option)
        (fixedScan: Volume)
        (movingScan: Volume)
        =
        let total = Stopwatch.StartNew()
        let card = model.Card

        let struct (alignment, initial) =
            match alignment with
            | Some Alignment.World -> struct (Alignment.World, Affine.Identity)
            | _ ->
                InitialAlignment.Find(fixedScan, movingScan, alignment |> Option.defaultValue card.Alignment)

        let grid = grid card "the fixed scan" fixedScan.Grid

        let pair =
            Pairs.prepare grid initial (card.Intensity.Apply fixedScan) (card.Intensity.Apply movingScan)

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

        let network = milliseconds clock
        let deformation = DisplacementField(grid, vectors).ResampleTo fixedScan.Grid
        let field = deformation.After initial
        clock.Restart()
        let moved = Warp.Linear(movingScan, field)
        let warp = milliseconds clock

        {
            Field = field
            Deformation = deformation
            Initial = initial
            Alignment = alignment
            Moved = moved
            NetworkMs = network
            WarpMs = warp
            TotalMs = milliseconds total
        }

    /// The same by the managed engine.
    let managed
        (registrar: Registrar)
        (alignment: Alignment option)
        (fixedScan: Volume)
        (movingScan: Volume)
        =
        let result =
            registrar.Register(
                fixedScan,
                movingScan,
                Option.toNullable alignment,
                null,
                CancellationToken.None
            )

        {
            Field = result.Field
            Deformation = result.Deformation
            Initial = result.Initial
            Alignment = result.Alignment
            Moved = result.Moved
            NetworkMs = result.NetworkTime.TotalMilliseconds
            WarpMs = result.WarpTime.TotalMilliseconds
            TotalMs = result.TotalTime.TotalMilliseconds
        }

    /// The moving scan after the initial alignment alone.
    let untouched (fixedScan: Volume) (movingScan: Volume) (registered: Registered) =
        Warp.Resample(movingScan, fixedScan.Grid, registered.Initial)

    /// What a model was trained on, by its card.
    let trainingRange (card: ModelCard) =
        let x, y, z = card.Size
        let sx, sy, sz = card.Spacing
        TrainingRange(card.Intensity, struct (sx, sy, sz), struct (x, y, z))

    /// Measures a registration and judges it; with the card of the model, if there was one. What is outside the fixed scan's
    /// mask does not count.
    let quality
        (card: ModelCard option)
        (fixedMask: Volume option)
        (fixedScan: Volume)
        (movingScan: Volume)
        (registered: Registered)
        =
        QualityCheck.Run(
            fixedScan,
            movingScan,
            registered.Moved,
            registered.Field,
            registered.Deformation,
            registered.Initial,
            card |> Option.map trainingRange |> Option.toObj,
            Option.toObj fixedMask,
            card |> Option.bind _.Verdict |> Option.toObj
        )
