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
        /// At the end the deformation is brought to one whose Jacobian determinants are within these bounds.
        Diffeomorphic: (float * float) option
        /// Hears in words what begins.
        Say: string -> unit
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
        /// Whether the network's deformation was left out: the scans agreed better without it.
        LeftAsTheyWere: bool
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

    /// Voxels from which on what a step leaves is collected before the next one allocates.
    let private large = 1L <<< 24

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

        /// The collector waits until so much is left that large scans would not fit into 4 GB.
        let tidy () =
            if fixedScan.Grid.Count + moving.Grid.Count > large then
                GC.Collect()

        let optimise freedom =
            options.Say "aligning the scans as a whole"

            let found =
                AffineAlignment.Run(
                    comparedFixed,
                    comparedMoving,
                    freedom,
                    Option.toObj options.Start,
                    Option.toObj options.FixedMask,
                    Option.toObj options.MovingMask
                )

            tidy ()
            found

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
                elif options.Start.IsSome then
                    "given", options.Start, Some found
                elif network.IsSome then
                    // As the model starts by itself.
                    "world", None, Some found
                elif found.Start = Affine.Identity then
                    "world", Some found.Start, Some found
                else
                    "centres", Some found.Start, Some found

        let byModel = network.IsSome && initial.IsNone

        let affineMs = clock.Elapsed.TotalMilliseconds

        let predicted =
            match network, initial with
            | None, _ -> None
            | Some network, None ->
                options.Say "running the network"

                match options.Prealignment with
                | ByHeader wanted -> network wanted comparedFixed comparedMoving
                | _ -> network None comparedFixed comparedMoving
                |> Some
            | Some network, Some map ->
                options.Say "running the network"

                let registered =
                    network (Some Alignment.World) comparedFixed (realigned map comparedMoving)

                Some
                    { registered with
                        Field = registered.Field.After map
                        Initial = map
                    }

        // Scans that agree already are left as they are, where the network would make them agree less.
        let predicted, left =
            match predicted with
            | Some registered when
                QualityCheck.Spoils(
                    fixedScan,
                    moving,
                    registered.Initial,
                    registered.Moved,
                    Option.toObj options.FixedMask
                )
                ->
                let none = DisplacementField.Zero fixedScan.Grid
                let field = none.After registered.Initial

                Some
                    { registered with
                        Deformation = none
                        Field = field
                        Moved = Warp.Linear(moving, field)
                    },
                true
            | other -> other, false

        let initial, deformation =
            match predicted with
            | Some registered -> registered.Initial, Some registered.Deformation
            | None ->
                initial |> Option.defaultValue Affine.Identity,
                options.StartField |> Option.map (fun field -> field.ResampleTo fixedScan.Grid)

        clock.Restart()

        let refined =
            options.Refinement
            |> Option.map (fun refinement ->
                options.Say "refining the deformation"
                Refinement.Run(comparedFixed, comparedMoving, initial, Option.toObj deformation, refinement))

        let refinementMs = clock.Elapsed.TotalMilliseconds

        let before =
            refined
            |> Option.map _.Field
            |> Option.orElse deformation
            |> Option.defaultWith (fun () -> DisplacementField.Zero fixedScan.Grid)

        clock.Restart()

        let unfolded =
            match options.Diffeomorphic with
            | Some(least, most) when Double.IsFinite before.MeanLengthMm ->
                options.Say "removing folds"
                let folded = (Folding.Measure before).FoldedPercent
                let fit = DiffeomorphicFit.To(before, 0, least, most)

                Some
                    {
                        Fit = fit
                        FoldedBeforePercent = folded
                        Ms = clock.Elapsed.TotalMilliseconds
                    }
            | _ -> None

        let registered =
            match predicted, refined, unfolded with
            | Some registered, None, None when obj.ReferenceEquals(comparedMoving, moving) -> registered
            | _ ->
                let deformation = unfolded |> Option.map _.Fit.Field |> Option.defaultValue before
                options.Say "resampling the moving scan"
                tidy ()
                let field = deformation.After initial
                clock.Restart()
                let moved = Warp.Linear(moving, field)

                {
                    Field = field
                    Deformation = deformation
                    Initial = initial
                    Alignment = predicted |> Option.map _.Alignment |> Option.defaultValue Alignment.World
                    Moved = moved
                    NetworkMs = predicted |> Option.map _.NetworkMs |> Option.defaultValue 0.0
                    WarpMs = clock.Elapsed.TotalMilliseconds
                    TotalMs = 0.0
                }

        let startedBy = if byModel then nameOf registered.Alignment else startedBy

        {
            Registered =
                { registered with
                    TotalMs = total.Elapsed.TotalMilliseconds
                }
            StartedBy = startedBy
            LeftAsTheyWere = left
            Affine = affine
            Refined = refined
            Unfolded = unfolded
            AffineMs = affineMs
            RefinementMs = refinementMs
        }
