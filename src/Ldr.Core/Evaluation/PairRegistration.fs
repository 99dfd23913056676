namespace Ldr

open System
open System.Diagnostics
open Ldr.Runtime

/// How two scans are laid over each other before anything is deformed.
type Prealignment =
    /// As the model was trained (or as named); by centres when the scans hardly overlap. Without a model: by the headers.
    | ByHeader of Alignment option
    /// By optimisation.
    | Optimised of AffineFreedom
    /// By optimisation of all 12 numbers, kept where that helps.
    | WhereItHelps
    /// From the fixed world to the moving world, mm.
    | Given of Affine

/// What is done with a pair beside running a network on it.
type PairOptions =
    {
        Prealignment: Prealignment
        /// Where the optimisation starts, or the alignment itself where none is asked for: fixed world to moving world, mm.
        Start: Affine option
        /// A deformation to go on from, on any grid; only without a network.
        StartField: DisplacementField option
        /// The refinement of the deformation for this pair.
        Refinement: RefinementOptions option
        FixedMask: Volume option
        MovingMask: Volume option
        /// At the end the deformation is brought to one without folds.
        Diffeomorphic: bool
    }

/// What was done to a deformation so that it folds nowhere.
[<NoEquality; NoComparison>]
type Unfolded =
    {
        Fit: DiffeomorphicFit
        /// Share of the voxels that folded before.
        FoldedBeforePercent: float
        Ms: float
    }

/// A pair that went through all that was asked for.
[<NoEquality; NoComparison>]
type PairResult =
    {
        Registered: Registered
        /// How the scans were laid over each other: world, centres, given, rigid or affine.
        StartedBy: string
        Affine: AffineResult option
        Refined: Refined option
        /// Where it was asked for; nothing is done to numbers that are not finite.
        Unfolded: Unfolded option
        AffineMs: float
        RefinementMs: float
    }

module PairRegistration =
    /// By how much the explained share of variance must rise for an optimised alignment to be kept on `WhereItHelps`.
    let helps = 0.002

    let private nameOf (alignment: Alignment) =
        match alignment with
        | Alignment.Centres -> "centres"
        | Alignment.Affine -> "affine"
        | _ -> "world"

    /// The moving scan as it lies after an alignment: the same voxels under another header, so that nothing is interpolated.
    let private realigned (initial: Affine) (moving: Volume) =
        let grid = moving.Grid

        Volume(
            Grid(grid.Nx, grid.Ny, grid.Nz, grid.VoxelToWorld.Then(initial.Inverse())),
            moving.Values,
            moving.StoredAs
        )

    /// Aligns, runs the network, refines, unfolds, and resamples the original moving scan once. `network` registers two scans laid over
    /// each other as told; without one, the deformation is that of the refinement alone.
    let run
        (network: (Alignment option -> Volume -> Volume -> Registered) option)
        (options: PairOptions)
        (fixedScan: Volume)
        (moving: Volume)
        : PairResult =
        let total = Stopwatch.StartNew()
        let clock = Stopwatch.StartNew()
        // What is compared; what is resampled in the end is the moving scan as it is.
        let struct (comparedFixed, comparedMoving) = Padding.Fill(fixedScan, moving)

        let header () =
            options.Start |> Option.defaultValue Affine.Identity

        let optimise freedom =
            AffineAlignment.Run(
                comparedFixed,
                comparedMoving,
                freedom,
                Option.toObj options.Start,
                Option.toObj options.FixedMask,
                Option.toObj options.MovingMask
            )

        let startedBy, initial, affine =
            match options.Prealignment with
            | ByHeader _ when options.Start.IsSome -> "given", Some(header ()), None
            | ByHeader wanted when network.IsNone && options.StartField.IsNone ->
                let struct (alignment, map) =
                    InitialAlignment.Find(fixedScan, moving, wanted |> Option.defaultValue Alignment.World)

                nameOf alignment, Some map, None
            | ByHeader _ when network.IsNone -> "given", Some Affine.Identity, None
            | ByHeader _ -> "world", None, None
            | Given map -> "given", Some map, None
            | Optimised AffineFreedom.Rigid ->
                let found = optimise AffineFreedom.Rigid
                "rigid", Some found.World, Some found
            | Optimised _ ->
                let found = optimise AffineFreedom.Full
                "affine", Some found.World, Some found
            | WhereItHelps ->
                let found = optimise AffineFreedom.Full

                if found.After > found.Before + helps then
                    "affine", Some found.World, Some found
                else
                    "world", options.Start, Some found

        let affineMs = clock.Elapsed.TotalMilliseconds

        let registered =
            match network, initial with
            | Some network, None ->
                match options.Prealignment with
                | ByHeader wanted -> network wanted comparedFixed comparedMoving
                | _ -> network None comparedFixed comparedMoving
            | Some network, Some map ->
                let registered =
                    network (Some Alignment.World) comparedFixed (realigned map comparedMoving)

                { registered with
                    Field = registered.Field.After map
                    Initial = map
                }
            | None, _ ->
                let map = initial |> Option.defaultValue Affine.Identity

                let deformation =
                    options.StartField
                    |> Option.map (fun field -> field.ResampleTo fixedScan.Grid)
                    |> Option.defaultWith (fun () -> DisplacementField.Zero fixedScan.Grid)

                let field = deformation.After map

                {
                    Field = field
                    Deformation = deformation
                    Initial = map
                    Alignment = Alignment.World
                    Moved = Warp.Linear(moving, field)
                    NetworkMs = 0.0
                    WarpMs = 0.0
                    TotalMs = 0.0
                }

        clock.Restart()

        let refined =
            options.Refinement
            |> Option.map (fun refinement ->
                Refinement.Run(
                    comparedFixed,
                    comparedMoving,
                    registered.Initial,
                    registered.Deformation,
                    refinement
                ))

        let refinementMs = clock.Elapsed.TotalMilliseconds

        let before =
            refined |> Option.map _.Field |> Option.defaultValue registered.Deformation

        clock.Restart()

        let unfolded =
            if options.Diffeomorphic && Double.IsFinite before.MeanLengthMm then
                let folded = (Folding.Measure before).FoldedPercent
                let fit = DiffeomorphicFit.To before

                Some
                    {
                        Fit = fit
                        FoldedBeforePercent = folded
                        Ms = clock.Elapsed.TotalMilliseconds
                    }
            else
                None

        let registered =
            if refined.IsNone && unfolded.IsNone then
                // The network saw the moving scan with its padding filled; what is given back is the scan as it is.
                if obj.ReferenceEquals(comparedMoving, moving) then
                    registered
                else
                    { registered with
                        Moved = Warp.Linear(moving, registered.Field)
                    }
            else
                let deformation = unfolded |> Option.map _.Fit.Field |> Option.defaultValue before

                let field = deformation.After registered.Initial

                clock.Restart()

                { registered with
                    Field = field
                    Deformation = deformation
                    Moved = Warp.Linear(moving, field)
                    WarpMs = clock.Elapsed.TotalMilliseconds
                }

        let startedBy =
            match options.Prealignment, network with
            | ByHeader _, Some _ when options.Start.IsNone -> nameOf registered.Alignment
            | _ -> startedBy

        {
            Registered =
                { registered with
                    TotalMs = total.Elapsed.TotalMilliseconds
                }
            StartedBy = startedBy
            Affine = affine
            Refined = refined
            Unfolded = unfolded
            AffineMs = affineMs
            RefinementMs = refinementMs
        }
