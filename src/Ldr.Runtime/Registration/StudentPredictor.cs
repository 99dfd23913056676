using System.Diagnostics;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference;
using Ldr.Runtime.Inference.Kernels;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>
/// Predicts deformations with a trained student, by the managed engine: both scans go to the model's grid and intensities, the field
/// comes back to the fixed scan's grid, and the original moving scan is resampled once. Nothing native, no GPU. Safe to use from
/// several threads: calls wait for each other, since each uses all the threads it may.
/// </summary>
public sealed class StudentPredictor : IFieldPredictor, IDisposable
{
    private readonly Lock gate = new();
    private readonly StudentEngine engine;
    private readonly WorkerTeam team;
    private readonly WindowStep windows;
    private readonly ScaleStep scale = new();
    private readonly SampleStep image = new("resample", 1);
    private readonly SampleStep vectors = new("field", 3);
    private readonly SampleStep warp = new("warp", 1);
    private readonly TotalStep total = new();
    private PredictionPlan? plan;
    private float[] fixedInput = [];
    private float[] movingInput = [];
    private float[] scaled = [];
    private float[] predicted = [];
    private bool disposed;

    /// <summary>A predictor; memory is taken at the first call, for its size, and kept for the next.</summary>
    /// <param name="model">The model to run.</param>
    /// <param name="threads">How many threads at most; 0 for one for each processor. No result depends on it.</param>
    public StudentPredictor(StudentModel model, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        engine = new StudentEngine(model, threads);
        Thresholds = VerdictThresholds.Of(model);
        Training = new TrainingRange(model.Intensity, model.Spacing, model.Size);
        team = new WorkerTeam(engine.Threads, 64);
        windows = new WindowStep(model.Intensity);
    }

    /// <summary>The model that it runs.</summary>
    public StudentModel Model => engine.Model;

    /// <summary>How many threads it uses at most.</summary>
    public int Threads => engine.Threads;

    /// <inheritdoc/>
    public Alignment Alignment => Model.Alignment;

    /// <inheritdoc/>
    public TrainingRange? Training { get; }

    /// <inheritdoc/>
    public VerdictThresholds? Thresholds { get; }

    /// <inheritdoc/>
    public FieldPrediction Predict(
        Volume fixedScan,
        Volume movingScan,
        Alignment? alignment = null,
        IProgress<double>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        lock (gate)
        {
            PredictionPlan own = Prepare(fixedScan, movingScan, alignment);
            Grid grid = fixedScan.Grid;
            int length = checked((int)(3 * grid.Count));
            DisplacementField field = new(grid, GC.AllocateUninitializedArray<float>(length));
            DisplacementField deformation =
                own.IsIdentity ? field : new DisplacementField(grid, GC.AllocateUninitializedArray<float>(length));
            Volume moved = new(grid, GC.AllocateUninitializedArray<float>((int)grid.Count));
            Times times = Run(own, fixedScan, movingScan, field.Vectors, deformation.Vectors, moved.Values, progress, cancellation);
            return new FieldPrediction(field, deformation, own.Initial, own.Alignment, moved, times.Network, times.Warp);
        }
    }

    /// <summary>
    /// Predicts into memory that is there already: after the first call for a pair of grids nothing is allocated.
    /// </summary>
    /// <param name="fixedScan">The scan whose grid the result has.</param>
    /// <param name="movingScan">The scan that is deformed onto it.</param>
    /// <param name="field">Its vectors are overwritten by the total displacement; it lies on the fixed scan's grid.</param>
    /// <param name="moved">Its values are overwritten by the moved scan; it lies on the fixed scan's grid.</param>
    /// <param name="alignment">As for <see cref="Predict"/>.</param>
    /// <param name="progress">As for <see cref="Predict"/>.</param>
    /// <param name="cancellation">As for <see cref="Predict"/>; field and moved scan are not defined then.</param>
    /// <exception cref="ArgumentException">The field or the moved scan lies on another grid.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public void PredictInto(
        Volume fixedScan,
        Volume movingScan,
        DisplacementField field,
        Volume moved,
        Alignment? alignment = null,
        IProgress<double>? progress = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(fixedScan);
        ArgumentNullException.ThrowIfNull(movingScan);
        ArgumentNullException.ThrowIfNull(field);
        ArgumentNullException.ThrowIfNull(moved);
        if (!field.Grid.Equals(fixedScan.Grid) || !moved.Grid.Equals(fixedScan.Grid))
        {
            throw new ArgumentException($"field and moved scan must lie on the fixed scan's grid, {fixedScan.Grid}");
        }

        lock (gate)
        {
            PredictionPlan own = Prepare(fixedScan, movingScan, alignment);
            Run(own, fixedScan, movingScan, field.Vectors, field.Vectors, moved.Values, progress, cancellation);
        }
    }

    /// <summary>Gives the memory back, once no call is running.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            engine.Dispose();
            team.Dispose();
        }
    }

    private static float[] Sized(float[] buffer, long length) =>
        buffer.Length == length ? buffer : GC.AllocateUninitializedArray<float>(checked((int)length));

    private PredictionPlan Prepare(Volume fixedScan, Volume movingScan, Alignment? alignment)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (plan is null || !plan.Fits(fixedScan.Grid, movingScan.Grid, alignment))
        {
            plan = new PredictionPlan(engine.Model, fixedScan, movingScan, alignment, engine.Threads);
        }

        return plan;
    }

    private Times Run(
        PredictionPlan own,
        Volume fixedScan,
        Volume movingScan,
        float[] field,
        float[] deformation,
        float[] moved,
        IProgress<double>? progress,
        CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        Grid grid = own.Grid;
        fixedInput = Sized(fixedInput, grid.Count);
        movingInput = Sized(movingInput, grid.Count);
        float[] vectorsOnGrid = own.IsFixedGrid ? deformation : predicted = Sized(predicted, 3 * grid.Count);
        team.Begin();
        try
        {
            windows.Scans[0] = fixedScan;
            windows.Scans[1] = movingScan;
            team.Run(windows);
            Bring(fixedScan, windows.Windows[0], own.FixedMap, grid, fixedInput);
            Bring(movingScan, windows.Windows[1], own.MovingMap, grid, movingInput);
        }
        finally
        {
            team.End();
            windows.Scans[0] = null!;
            windows.Scans[1] = null!;
        }

        long network = Stopwatch.GetTimestamp();
        engine.Predict(fixedInput, movingInput, (grid.Nx, grid.Ny, grid.Nz), vectorsOnGrid, default, progress, cancellation);
        TimeSpan networkTime = Stopwatch.GetElapsedTime(network);
        TimeSpan warpTime;
        team.Begin();
        try
        {
            Finish(own, vectorsOnGrid, deformation, field);
            long warped = Stopwatch.GetTimestamp();
            Sample(warp, movingScan.Values, movingScan.Grid, field, own.WarpMap, own.Fixed, moved);
            warpTime = Stopwatch.GetElapsedTime(warped);
        }
        finally
        {
            team.End();
        }

        return new Times(networkTime, warpTime);
    }

    /// <summary>A scan on the network's grid, in [0, 1].</summary>
    private void Bring(Volume scan, (double Low, double High) window, Affine map, Grid grid, float[] input)
    {
        bool direct = map.Equals(Affine.Identity) && scan.Grid.SameSizeAs(grid);
        scale.Source = scan.Values;
        scale.Window = window;
        scale.Target = direct ? input : scaled = Sized(scaled, scan.Values.Length);
        team.Run(scale);
        if (!direct)
        {
            Sample(image, scaled, scan.Grid, null, map, grid, input);
        }

        scale.Source = [];
    }

    /// <summary>The network's vectors on the fixed grid, and the total of them and the initial alignment.</summary>
    private void Finish(PredictionPlan own, float[] vectorsOnGrid, float[] deformation, float[] field)
    {
        if (own.IsFixedGrid && own.IsIdentity)
        {
            return;
        }

        float[] source = vectorsOnGrid;
        if (!own.IsFixedGrid)
        {
            Sample(vectors, vectorsOnGrid, own.Grid, null, own.FieldMap, own.Fixed, deformation);
            source = deformation;
        }

        total.Plan = own;
        total.Source = source;
        total.Deformation = deformation;
        total.Target = field;
        team.Run(total);
        total.Source = total.Deformation = total.Target = [];
    }

    private void Sample(
        SampleStep step, float[] source, Grid sourceGrid, float[]? displacement, Affine map, Grid output, float[] target)
    {
        step.Source = source;
        step.SourceGrid = sourceGrid;
        step.Displacement = displacement;
        step.Map = map;
        step.Output = output;
        step.Target = target;
        team.Run(step);
        step.Source = step.Target = [];
        step.Displacement = null;
    }

    private readonly record struct Times(TimeSpan Network, TimeSpan Warp);
}
