using System.Diagnostics;

namespace Ldr.Runtime;

/// <summary>
/// Registers pairs of scans of any size, spacing and orientation with a trained student: both go to the model's grid and
/// intensities, the field comes back to the fixed scan's grid, and the original moving scan is resampled once. Nothing native,
/// no GPU. Safe to use from several threads: calls wait for each other, since each uses all the threads it may.
/// </summary>
/// <example>
/// <code>
/// using Registrar registrar = new(StudentModel.Load("model.safetensors"));
/// RegistrationResult result = registrar.Register(Volume.Read("fixed.nii.gz"), Volume.Read("moving.nii.gz"));
/// result.Moved.Write("moved.nii.gz");
/// </code>
/// </example>
public sealed class Registrar : IDisposable
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
    private RegistrationPlan? plan;
    private float[] fixedInput = [];
    private float[] movingInput = [];
    private float[] scaled = [];
    private float[] predicted = [];
    private bool disposed;

    /// <summary>A registrar; memory is taken at the first call, for its size, and kept for the next.</summary>
    /// <param name="model">The model to run.</param>
    /// <param name="threads">How many threads at most; 0 for one for each processor. No result depends on it.</param>
    public Registrar(StudentModel model, int threads = 0)
    {
        engine = new StudentEngine(model, threads);
        team = new WorkerTeam(engine.Threads, 64);
        windows = new WindowStep(model.Intensity);
    }

    /// <summary>The model that it runs.</summary>
    public StudentModel Model => engine.Model;

    /// <summary>How many threads it uses at most.</summary>
    public int Threads => engine.Threads;

    /// <summary>
    /// Whether the network's deformation is brought to one that folds nowhere, see <see cref="DiffeomorphicFit"/>. That takes several
    /// times as long as a network, and memory at each call.
    /// </summary>
    public bool Diffeomorphic { get; init; }

    /// <summary>Registers a pair.</summary>
    /// <param name="fixedScan">The scan whose grid the result has.</param>
    /// <param name="movingScan">The scan that is deformed onto it.</param>
    /// <param name="alignment">
    /// How they are laid over each other first; when null, as the model was trained, or by centres when they hardly overlap.
    /// </param>
    /// <param name="progress">Hears the share of the work that is done, from 0 to 1, on this thread.</param>
    /// <param name="cancellation">Stops between two layers.</param>
    /// <returns>The field, and the moving scan on the fixed grid.</returns>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public RegistrationResult Register(
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
            RegistrationPlan own = Prepare(fixedScan, movingScan, alignment);
            Grid grid = fixedScan.Grid;
            int length = checked((int)(3 * grid.Count));
            DisplacementField field = new(grid, GC.AllocateUninitializedArray<float>(length));
            DisplacementField deformation =
                own.IsIdentity ? field : new DisplacementField(grid, GC.AllocateUninitializedArray<float>(length));
            Volume moved = new(grid, GC.AllocateUninitializedArray<float>((int)grid.Count));
            Times times = Run(own, fixedScan, movingScan, field.Vectors, deformation.Vectors, moved.Values, progress, cancellation);
            return new RegistrationResult(field, deformation, own.Initial, own.Alignment, moved)
            {
                NetworkTime = times.Network,
                WarpTime = times.Warp,
                TotalTime = times.Total,
            };
        }
    }

    /// <summary>
    /// Registers a pair into memory that is there already: after the first call for a pair of grids nothing is allocated, unless
    /// <see cref="Diffeomorphic"/> is set.
    /// </summary>
    /// <param name="fixedScan">The scan whose grid the result has.</param>
    /// <param name="movingScan">The scan that is deformed onto it.</param>
    /// <param name="field">Its vectors are overwritten by the total displacement; it lies on the fixed scan's grid.</param>
    /// <param name="moved">Its values are overwritten by the moved scan; it lies on the fixed scan's grid.</param>
    /// <param name="alignment">As for <see cref="Register"/>.</param>
    /// <param name="progress">As for <see cref="Register"/>.</param>
    /// <param name="cancellation">As for <see cref="Register"/>; field and moved scan are not defined then.</param>
    /// <exception cref="ArgumentException">The field or the moved scan lies on another grid.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public void RegisterInto(
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
            RegistrationPlan own = Prepare(fixedScan, movingScan, alignment);
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

    private RegistrationPlan Prepare(Volume fixedScan, Volume movingScan, Alignment? alignment)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        if (plan is null || !plan.Fits(fixedScan.Grid, movingScan.Grid, alignment))
        {
            plan = new RegistrationPlan(engine.Model, fixedScan, movingScan, alignment, engine.Threads);
        }

        return plan;
    }

    private Times Run(
        RegistrationPlan own,
        Volume fixedScan,
        Volume movingScan,
        float[] field,
        float[] deformation,
        float[] moved,
        IProgress<double>? progress,
        CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
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
            if (Diffeomorphic)
            {
                team.End();
                Unfold(own, deformation, field);
                team.Begin();
            }

            long warped = Stopwatch.GetTimestamp();
            Sample(warp, movingScan.Values, movingScan.Grid, field, own.WarpMap, own.Fixed, moved);
            warpTime = Stopwatch.GetElapsedTime(warped);
        }
        finally
        {
            team.End();
        }

        return new Times(networkTime, warpTime, Stopwatch.GetElapsedTime(start));
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
    private void Finish(RegistrationPlan own, float[] vectorsOnGrid, float[] deformation, float[] field)
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

    /// <summary>
    /// Replaces the deformation by one that folds nowhere, and the total by it and the initial alignment. Vectors that are not finite stay
    /// as they are: the quality check says so.
    /// </summary>
    private void Unfold(RegistrationPlan own, float[] deformation, float[] field)
    {
        DisplacementField found = new(own.Fixed, deformation);
        if (ReferenceEquals(deformation, field) && !own.IsIdentity)
        {
            found = found.After(own.Initial.Inverse());
        }

        if (double.IsFinite(found.MeanLengthMm))
        {
            DisplacementField fit = DiffeomorphicFit.To(found, Threads).Field;
            fit.Vectors.CopyTo(deformation, 0);
            (own.IsIdentity ? fit : fit.After(own.Initial)).Vectors.CopyTo(field, 0);
        }
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

    private readonly record struct Times(TimeSpan Network, TimeSpan Warp, TimeSpan Total);
}
