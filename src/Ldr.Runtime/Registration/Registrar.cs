using System.Diagnostics;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>
/// Registers pairs of scans of any size, spacing and orientation: aligns them as a whole, asks a predictor for the deformation (or
/// starts from none), refines it, unfolds it, resamples the original moving scan once, and judges the result. Safe to use from
/// several threads.
/// </summary>
/// <example>
/// <code>
/// using Registrar registrar = new(StudentModel.Load("hippocampus"));
/// RegistrationResult result = registrar.Register(Volume.Read("fixed.nii.gz"), Volume.Read("moving.nii.gz"));
/// result.Moved.Write("moved.nii.gz");
/// </code>
/// </example>
public sealed class Registrar : IDisposable
{
    /// <summary>By how much the explained share of variance must rise for <see cref="Prealignment.Auto"/> to keep what it found.</summary>
    public const double Helps = 0.002;

    /// <summary>Voxels from which on what a stage leaves is collected before the next one allocates, so that 4 GB are enough.</summary>
    private const long Large = 1L << 24;

    private readonly IFieldPredictor? predictor;
    private readonly IDisposable? owned;

    /// <summary>A registrar without a network, or with one.</summary>
    /// <param name="predictor">The network; it stays the caller's. Null for none.</param>
    public Registrar(IFieldPredictor? predictor = null) => this.predictor = predictor;

    /// <summary>A registrar with a trained student, computed by the managed engine. It gives the engine's memory back.</summary>
    /// <param name="model">The model.</param>
    /// <param name="threads">How many threads the network uses at most; 0 for one for each processor.</param>
    public Registrar(StudentModel model, int threads = 0)
    {
        StudentPredictor own = new(model, threads);
        (predictor, owned) = (own, own);
    }

    /// <summary>The network; null for none.</summary>
    public IFieldPredictor? Predictor => predictor;

    /// <summary>Registers a pair.</summary>
    /// <param name="fixedScan">The scan whose grid the result has.</param>
    /// <param name="movingScan">The scan that is deformed onto it.</param>
    /// <param name="options">What is done beside running the network; null: the standard.</param>
    /// <param name="progress">Is told what begins, on this thread.</param>
    /// <param name="cancellation">Stops within every stage.</param>
    /// <exception cref="ArgumentException">
    /// A mask lies on another grid than its scan, a start field is given beside a network, or the fixed scan needs too many voxels at
    /// the model's spacing.
    /// </exception>
    /// <exception cref="InvalidFileException">A scan has voxels of which no registration can be planned.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public RegistrationResult Register(
        Volume fixedScan,
        Volume movingScan,
        RegistrationOptions? options = null,
        IProgress<RegistrationProgress>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        options ??= new RegistrationOptions();
        Validate(fixedScan, movingScan, options);
        Pass pass = new(predictor, fixedScan, movingScan, options, progress, cancellation);
        RegistrationResult result = pass.Run();
        if (options.Check)
        {
            progress?.Report(new RegistrationProgress(RegistrationStage.Checking));
            result.Check(cancellation);
        }

        return result;
    }

    /// <summary>Gives the memory of a network that it made itself back, once no call is running.</summary>
    public void Dispose() => owned?.Dispose();

    private void Validate(Volume fixedScan, Volume movingScan, RegistrationOptions options)
    {
        void OnGrid(Volume? mask, Volume scan, string name)
        {
            if (mask is not null && !mask.Grid.SameAs(scan.Grid))
            {
                throw new ArgumentException($"the {name} mask lies on another grid than the {name} scan", nameof(options));
            }
        }

        Budget.CheckVoxels("the fixed scan", fixedScan.Grid);
        Budget.CheckVoxels("the moving scan", movingScan.Grid);
        OnGrid(options.FixedMask, fixedScan, "fixed");
        OnGrid(options.MovingMask, movingScan, "moving");
        if (predictor is not null && options.StartField is not null)
        {
            throw new ArgumentException("a start field is only for registration without a network", nameof(options));
        }
    }

    /// <summary>One pair on its way through the stages.</summary>
    private sealed class Pass(
        IFieldPredictor? predictor,
        Volume fixedScan,
        Volume moving,
        RegistrationOptions options,
        IProgress<RegistrationProgress>? progress,
        CancellationToken cancellation)
    {
        private readonly Stopwatch total = Stopwatch.StartNew();

        // What is compared; what is resampled in the end is the moving scan as it is.
        private readonly (Volume Fixed, Volume Moving) compared = Padding.Fill(fixedScan, moving);

        private bool Masked => options.FixedMask is not null || options.MovingMask is not null;

        /// <summary>An alignment as a whole. Without a map, the network aligns by itself.</summary>
        private readonly record struct Start(StartedBy By, Affine? Map, AffineResult? Found = null);

        internal RegistrationResult Run()
        {
            (Start start, TimeSpan aligning) = Timed(Align);
            (FieldPrediction? predicted, bool leftOut) = Predict(start);
            Affine initial = predicted?.Initial ?? start.Map ?? Affine.Identity;
            DisplacementField? begun = predicted?.Deformation ?? options.StartField?.ResampleTo(fixedScan.Grid, options.Threads);
            (Refined? refined, TimeSpan refining) = Timed(() => Refine(initial, begun));
            DisplacementField deformation = refined?.Field ?? begun ?? DisplacementField.Zero(fixedScan.Grid);
            (Unfolded? unfolded, TimeSpan unfolding) = Timed(() => Unfold(deformation));
            bool asPredicted = refined is null && unfolded is null && ReferenceEquals(compared.Moving, moving);
            (DisplacementField field, Volume moved, TimeSpan warping) = predicted is not null && asPredicted
                ? (predicted.Field, predicted.Moved, predicted.WarpTime)
                : Resample(unfolded?.Fit.Field ?? deformation, initial);
            return new RegistrationResult(predictor, options, fixedScan, moving)
            {
                Field = field,
                Deformation = unfolded?.Fit.Field ?? deformation,
                Initial = initial,
                Moved = moved,
                StartedBy = predicted is not null && start.Map is null ? ByOf(predicted.Alignment) : start.By,
                NetworkLeftOut = leftOut,
                Affine = start.Found,
                Refined = refined,
                Unfolded = unfolded,
                Times = new RegistrationTimes(
                    aligning, predicted?.NetworkTime ?? default, refining, unfolding, warping, total.Elapsed),
            };
        }

        private static (T Value, TimeSpan Time) Timed<T>(Func<T> work)
        {
            long start = Stopwatch.GetTimestamp();
            T value = work();
            return (value, Stopwatch.GetElapsedTime(start));
        }

        private static StartedBy ByOf(Alignment alignment) => alignment switch
        {
            Alignment.Centres => StartedBy.Centres,
            Alignment.Affine => StartedBy.Affine,
            _ => StartedBy.World,
        };

        /// <summary>The same voxels under another header, as they lie after an alignment: nothing is interpolated.</summary>
        private static Volume Realigned(Volume scan, Affine initial)
        {
            Grid grid = scan.Grid;
            return new Volume(
                new Grid(grid.Nx, grid.Ny, grid.Nz, grid.VoxelToWorld.Then(initial.Inverse())), scan.Values, scan.StoredAs);
        }

        private void Begin(RegistrationStage stage)
        {
            cancellation.ThrowIfCancellationRequested();
            progress?.Report(new RegistrationProgress(stage));
        }

        private void Tidy()
        {
            if (fixedScan.Grid.Count + moving.Grid.Count > Large)
            {
                GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            }
        }

        private Start Align()
        {
            switch (options.Prealignment)
            {
                case Prealignment.Given given:
                    return new Start(StartedBy.Given, given.Map);
                // What a model that aligns would do by itself, with the masks.
                case Prealignment.ByHeader { Alignment: null } when Masked && predictor?.Alignment == Alignment.Affine:
                    AffineResult masked = Optimise(AffineFreedom.Full);
                    return new Start(StartedBy.Affine, masked.World, masked);
                case Prealignment.ByHeader when options.Start is not null:
                    return new Start(StartedBy.Given, options.Start);
                case Prealignment.ByHeader when predictor is not null:
                    return new Start(StartedBy.World, null);
                case Prealignment.ByHeader when options.StartField is not null:
                    return new Start(StartedBy.Given, Affine.Identity);
                case Prealignment.ByHeader header:
                    (Alignment used, Affine map) =
                        InitialAlignment.Find(fixedScan, moving, header.Alignment ?? Alignment.World, options.Threads);
                    return new Start(ByOf(used), map);
                case Prealignment.Optimised { Freedom: AffineFreedom freedom }:
                    AffineResult found = Optimise(freedom);
                    return new Start(freedom == AffineFreedom.Rigid ? StartedBy.Rigid : StartedBy.Affine, found.World, found);
                default:
                    return WhereItHelps(Optimise(AffineFreedom.Full));
            }
        }

        private Start WhereItHelps(AffineResult found)
        {
            if (found.After > found.Before + Helps)
            {
                return new Start(StartedBy.Affine, found.World, found);
            }

            return options.Start is not null ? new Start(StartedBy.Given, options.Start, found)
                : predictor is not null ? new Start(StartedBy.World, null, found)
                : new Start(found.Start.Equals(Affine.Identity) ? StartedBy.World : StartedBy.Centres, found.Start, found);
        }

        private AffineResult Optimise(AffineFreedom freedom)
        {
            Begin(RegistrationStage.Aligning);
            AffineResult found = AffineAlignment.Run(
                compared.Fixed,
                compared.Moving,
                freedom,
                options.Start,
                options.FixedMask,
                options.MovingMask,
                options.Threads,
                cancellation);
            Tidy();
            return found;
        }

        private (FieldPrediction? Predicted, bool LeftOut) Predict(Start start)
        {
            if (predictor is null)
            {
                return (null, false);
            }

            Begin(RegistrationStage.Predicting);
            FieldPrediction predicted;
            if (start.Map is Affine map)
            {
                predicted = predictor.Predict(
                    compared.Fixed, Realigned(compared.Moving, map), Alignment.World, null, cancellation);
                predicted = predicted with { Field = predicted.Field.After(map), Initial = map };
            }
            else
            {
                Alignment? wanted = (options.Prealignment as Prealignment.ByHeader)?.Alignment;
                predicted = predictor.Predict(compared.Fixed, compared.Moving, wanted, null, cancellation);
            }

            // Scans that agree already are left as they are, where the network would make them agree less.
            if (!QualityCheck.Spoils(fixedScan, moving, predicted.Initial, predicted.Moved, options.FixedMask))
            {
                return (predicted, false);
            }

            DisplacementField none = DisplacementField.Zero(fixedScan.Grid);
            DisplacementField field = none.After(predicted.Initial);
            return (predicted with { Deformation = none, Field = field, Moved = Warp.Linear(moving, field, options.Threads) }, true);
        }

        private Refined? Refine(Affine initial, DisplacementField? begun)
        {
            RefinementOptions? own = options.Refinement ?? (predictor is null ? new RefinementOptions() : null);
            if (own is null or { Steps: 0 })
            {
                return null;
            }

            Begin(RegistrationStage.Refining);
            return Refinement.Run(
                compared.Fixed,
                compared.Moving,
                initial,
                begun,
                own with
                {
                    FixedMask = options.FixedMask ?? own.FixedMask,
                    MovingMask = options.MovingMask ?? own.MovingMask,
                    Threads = options.Threads > 0 ? options.Threads : own.Threads,
                    Progress = (level, step, similarity) =>
                    {
                        own.Progress?.Invoke(level, step, similarity);
                        if (step == 0)
                        {
                            progress?.Report(new RegistrationProgress(RegistrationStage.Refining, level));
                        }
                    },
                },
                cancellation);
        }

        /// <summary>Nothing is done to numbers that are not finite: the quality check says so.</summary>
        private Unfolded? Unfold(DisplacementField deformation)
        {
            if (options.Diffeomorphic is not JacobianBounds bounds || !double.IsFinite(deformation.MeanLengthMm))
            {
                return null;
            }

            Begin(RegistrationStage.Unfolding);
            double folded = Folding.Measure(deformation).FoldedPercent;
            return new Unfolded(DiffeomorphicFit.To(deformation, options.Threads, bounds.Least, bounds.Most, cancellation), folded);
        }

        private (DisplacementField Field, Volume Moved, TimeSpan Time) Resample(DisplacementField deformation, Affine initial)
        {
            Begin(RegistrationStage.Resampling);
            Tidy();
            DisplacementField field = deformation.After(initial);
            (Volume moved, TimeSpan time) = Timed(() => Warp.Linear(moving, field, options.Threads));
            return (field, moved, time);
        }
    }
}
