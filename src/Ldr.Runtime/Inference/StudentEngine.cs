using System.Diagnostics;
using Ldr.Runtime.Inference.Kernels;

namespace Ldr.Runtime.Inference;

/// <summary>
/// Runs a model on pairs of images that are prepared already (one grid, intensities in [0, 1]): the network and nothing
/// around it. Safe to use from several threads; calls wait for each other. <c>Registrar</c> is the whole way from scans
/// to a moved scan.
/// </summary>
public sealed class StudentEngine : IDisposable
{
    private readonly Lock gate = new();
    private StudentGraph? graph;
    private WorkerTeam? team;
    private bool disposed;

    /// <summary>An engine; memory is taken at the first call, for its size, and kept for the next.</summary>
    /// <param name="model">The model to run.</param>
    /// <param name="threads">How many threads at most; 0 for one for each processor. No result depends on it.</param>
    public StudentEngine(StudentModel model, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        Model = model;
        Threads = threads == 0 ? Environment.ProcessorCount : threads;
    }

    /// <summary>The smallest side of an image, voxels.</summary>
    public static int SmallestSide => 8;

    /// <summary>The model that it runs.</summary>
    public StudentModel Model { get; }

    /// <summary>How many threads it uses at most.</summary>
    public int Threads { get; }

    /// <summary>Bytes of native memory that it holds for activations, for the size of the last call.</summary>
    public long ActivationBytes => graph?.Arena.Bytes ?? 0;

    /// <summary>
    /// Predicts the displacement field of a pair, and moves the moving image. After the first call of a size nothing is
    /// allocated on the managed heap.
    /// </summary>
    /// <param name="fixedImage">One value per voxel, x fastest, in [0, 1].</param>
    /// <param name="movingImage">The same, on the same grid.</param>
    /// <param name="size">Voxels along x, y and z; 8 or more each.</param>
    /// <param name="field">
    /// Takes the displacements: all x components, all y, all z, in voxels, from fixed to moving.
    /// </param>
    /// <param name="moved">Takes moving(x + u(x)), trilinear, clamped at the border; empty when it is not wanted.</param>
    /// <param name="progress">Hears the share of the work that is done, from 0 to 1.</param>
    /// <param name="cancellation">Stops between two layers.</param>
    /// <exception cref="ArgumentException">A side below 8, or a span of another length.</exception>
    /// <exception cref="OperationCanceledException">It was stopped; the outputs are not defined.</exception>
    public void Predict(
        ReadOnlySpan<float> fixedImage,
        ReadOnlySpan<float> movingImage,
        (int X, int Y, int Z) size,
        Span<float> field,
        Span<float> moved = default,
        IProgress<double>? progress = null,
        CancellationToken cancellation = default)
    {
        long voxels = (long)size.X * size.Y * size.Z;
        if (size.X < SmallestSide || size.Y < SmallestSide || size.Z < SmallestSide || 3 * voxels > Array.MaxLength)
        {
            throw new ArgumentException(
                $"images of {SmallestSide} voxels a side or more are needed, not {size.X}×{size.Y}×{size.Z}", nameof(size));
        }

        CheckLength(fixedImage.Length, voxels, nameof(fixedImage));
        CheckLength(movingImage.Length, voxels, nameof(movingImage));
        CheckLength(field.Length, 3 * voxels, nameof(field));
        CheckLength(moved.IsEmpty ? voxels : moved.Length, voxels, nameof(moved));
        lock (gate)
        {
            Run(fixedImage, movingImage, size, field, moved, progress, cancellation, null);
        }
    }

    /// <summary>
    /// What <see cref="Predict"/> does, layer by layer: name, milliseconds and arithmetic operations of each; the last one
    /// is the warp.
    /// </summary>
    public IReadOnlyList<(string Layer, double Milliseconds, double Operations)> Profile(
        ReadOnlySpan<float> fixedImage,
        ReadOnlySpan<float> movingImage,
        (int X, int Y, int Z) size,
        Span<float> field,
        Span<float> moved)
    {
        List<(string Layer, double Milliseconds, double Operations)> layers = [];
        lock (gate)
        {
            Run(fixedImage, movingImage, size, field, moved, null, default, layers);
        }

        return layers;
    }

    /// <summary>Gives the memory back, once no call is running.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            disposed = true;
            team?.Dispose();
            graph?.Dispose();
            team = null;
            graph = null;
        }
    }

    private static void CheckLength(long length, long needed, string name)
    {
        if (length != needed)
        {
            throw new ArgumentException($"{length} numbers, where {needed} are needed", name);
        }
    }

    private unsafe void Run(
        ReadOnlySpan<float> fixedImage,
        ReadOnlySpan<float> movingImage,
        (int X, int Y, int Z) size,
        Span<float> field,
        Span<float> moved,
        IProgress<double>? progress,
        CancellationToken cancellation,
        List<(string Layer, double Milliseconds, double Operations)>? profile)
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        cancellation.ThrowIfCancellationRequested();
        StudentGraph own = Prepare(size);
        fixed (float* f = fixedImage, m = movingImage, u = field, w = moved)
        {
            own.Fixed.Borrowed = f;
            own.Moving.Borrowed = m;
            own.Field.Borrowed = u;
            own.Moved.Borrowed = w;
            team!.Begin();
            try
            {
                double total = own.Flops;
                double done = 0;
                foreach (Operation operation in own.Network)
                {
                    Time(operation, profile);
                    done += operation.Flops;
                    progress?.Report(done / total);
                    cancellation.ThrowIfCancellationRequested();
                }

                if (w != null)
                {
                    Time(own.Warp, profile);
                }
            }
            finally
            {
                team.End();
            }
        }
    }

    private void Time(Operation operation, List<(string Layer, double Milliseconds, double Operations)>? profile)
    {
        long start = Stopwatch.GetTimestamp();
        team!.Run(operation);
        profile?.Add((operation.Name, Stopwatch.GetElapsedTime(start).TotalMilliseconds, operation.Flops));
    }

    private StudentGraph Prepare((int X, int Y, int Z) size)
    {
        if (graph is not null && graph.Size == size)
        {
            return graph;
        }

        team?.Dispose();
        graph?.Dispose();
        graph = StudentGraph.Make(Model, size);
        team = new WorkerTeam(Threads, graph.ScratchBytes);
        return graph;
    }
}
