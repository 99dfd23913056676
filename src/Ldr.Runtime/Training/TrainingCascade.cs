using System.Runtime.InteropServices;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Inference.Kernels;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Training;

/// <summary>
/// A cascade of students forward and back: each stage sees the fixed image and the original moving one, warped once by the total
/// of the fields so far. What the way forward found stays until the next one. No result depends on the number of threads. Not
/// safe to use from several threads at once.
/// </summary>
internal sealed unsafe class TrainingCascade : IDisposable
{
    private readonly TrainingGraph[] graphs;
    private readonly StageEnding ending;
    private readonly int samples;
    private readonly (int X, int Y, int Z) size;
    private readonly Grid grid;
    private readonly VelocityFlow? flow;
    private readonly nint image;
    private readonly nint field;
    private readonly Arena arena = new();
    private readonly StageMemory[] memory;
    private readonly long start;
    private readonly long startMoved;
    private readonly long raw;
    private readonly long byTotal;
    private readonly long byDeformation;
    private readonly long byOwn;
    private readonly long byWarp;
    private readonly long byMoved;
    private readonly long byFixed;
    private readonly long byRaw;
    private ImagePair images;
    private AffineNumbers affine;

    /// <summary>A cascade.</summary>
    /// <param name="encoder">Channels of the four convolutions of a stage.</param>
    /// <param name="decoder">Channels of its three transposed convolutions.</param>
    /// <param name="ending">What follows its head.</param>
    /// <param name="stages">At least 1.</param>
    /// <param name="squarings">Of a velocity's flow.</param>
    /// <param name="samples">N.</param>
    /// <param name="size">Of the images; multiples of 16.</param>
    internal TrainingCascade(
        int[] encoder, int[] decoder, StageEnding ending, int stages, int squarings, int samples, (int X, int Y, int Z) size)
    {
        this.ending = ending;
        this.samples = samples;
        this.size = size;
        grid = new Grid(size.X, size.Y, size.Z, Affine.Identity);
        image = samples * (nint)grid.Count;
        field = 3 * image;
        graphs =
        [
            .. Enumerable.Range(0, stages).Select(_ =>
                TrainingGraph.Stage(encoder, decoder, ending != StageEnding.Full, samples, size)),
        ];
        if (ending == StageEnding.Velocity)
        {
            flow = new VelocityFlow(arena, squarings, stages, samples, Half(size));
        }

        memory = [.. Enumerable.Range(0, stages).Select(stage => new StageMemory(arena, field, image, stage))];
        start = arena.Reserve(field);
        startMoved = arena.Reserve(image);
        raw = arena.Reserve(field / 8);
        byTotal = arena.Reserve(field);
        byDeformation = arena.Reserve(field);
        byOwn = arena.Reserve(field);
        byWarp = arena.Reserve(field);
        byMoved = arena.Reserve(image);
        byFixed = arena.Reserve(image);
        byRaw = arena.Reserve(field / 8);
        arena.Allocate();
    }

    /// <summary>The convolutions of each stage.</summary>
    internal IReadOnlyList<TrainingGraph> Graphs => graphs;

    /// <summary>The total displacement field that the last way forward found, [N, 3, Z, Y, X].</summary>
    internal float* Total => arena.At(TotalOf(graphs.Length - 1));

    /// <summary>The moving image, warped by it, [N, 1, Z, Y, X].</summary>
    internal float* Moved => arena.At(memory[^1].Moved);

    /// <summary>A stage's own field, [N, 3, Z, Y, X].</summary>
    internal float* OwnField(int stage) => arena.At(memory[stage].Own);

    /// <summary>Lends what both ways look at.</summary>
    /// <param name="pair">Images [N, 1, Z, Y, X].</param>
    /// <param name="affineNumbers">What the images begin with; its pointers are null where there is none.</param>
    internal void Lend(ImagePair pair, AffineNumbers affineNumbers)
    {
        images = pair;
        affine = affineNumbers;
    }

    /// <summary>The way forward.</summary>
    /// <param name="threads">How many threads at most.</param>
    internal void Forward(int threads)
    {
        float* seen = images.Moving;
        if (affine.Exists)
        {
            AffineField.Total(affine.Matrix, affine.Shift, null, samples, size, arena.At(start), threads);
            seen = arena.At(startMoved);
            WarpImage(arena.At(start), seen, threads);
        }

        for (int stage = 0; stage < graphs.Length; stage++)
        {
            PredictOwn(stage, seen, threads);
            Join(stage, threads);
            seen = arena.At(memory[stage].Moved);
            WarpImage(arena.At(TotalOf(stage)), seen, threads);
        }
    }

    /// <summary>The way back of the last way forward; fills the gradients of all layers.</summary>
    /// <param name="gradients">Those of the results, and those of the affine map, which are set.</param>
    /// <param name="threads">How many threads at most.</param>
    internal void Backward(CascadeGradients gradients, int threads)
    {
        double[] byAffine = new double[12 * samples];
        Take(gradients.Total, byTotal, field);
        float* ofMoved = gradients.Moved;
        for (int stage = graphs.Length - 1; stage >= 0; stage--)
        {
            AddThroughWarp(arena.At(TotalOf(stage)), ofMoved, threads);
            BackToDeformation(stage, byAffine, threads);
            BackToOwn(stage, gradients.Own(stage), threads);
            bool wantsImage = stage > 0 || affine.Exists;
            BackThroughStage(stage, wantsImage, threads);
            if (wantsImage)
            {
                ofMoved = arena.At(byMoved);
                Take(null, byTotal, field);
            }
        }

        if (affine.Exists)
        {
            AddThroughWarp(arena.At(start), ofMoved, threads);
            AddAffine(null, null, byAffine, threads);
            for (int sample = 0; sample < samples; sample++)
            {
                Narrow(byAffine.AsSpan(9 * sample, 9), gradients.Matrix + (9 * sample));
                Narrow(byAffine.AsSpan((9 * samples) + (3 * sample), 3), gradients.Shift + (3 * sample));
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TrainingGraph graph in graphs)
        {
            graph.Dispose();
        }

        arena.Dispose();
    }

    private static (int X, int Y, int Z) Half((int X, int Y, int Z) size) => (size.X / 2, size.Y / 2, size.Z / 2);

    private static void Narrow(ReadOnlySpan<double> from, float* to)
    {
        for (int i = 0; i < from.Length; i++)
        {
            to[i] = (float)from[i];
        }
    }

    /// <summary>The fields of the stages until this one, joined.</summary>
    private long DeformationOf(int stage) => stage == 0 ? memory[0].Own : memory[stage].Deformation;

    private long TotalOf(int stage) => affine.Exists ? memory[stage].Total : DeformationOf(stage);

    private void WarpImage(float* by, float* moved, int threads) =>
        PlanarWarp.Apply(by, images.Moving, samples, 1, grid, moved, threads);

    /// <summary>A stage's own field from what it sees.</summary>
    private void PredictOwn(int stage, float* seen, int threads)
    {
        float* own = arena.At(memory[stage].Own);
        PairMemory pairs = new(images.Fixed, seen, (nint)grid.Count);
        switch (ending)
        {
            case StageEnding.Full:
                graphs[stage].Forward(pairs, own, threads);
                return;
            case StageEnding.Half:
                graphs[stage].Forward(pairs, arena.At(raw), threads);
                DoubledField.Apply(arena.At(raw), 3 * samples, Half(size), own, threads);
                return;
            default:
                graphs[stage].Forward(pairs, arena.At(raw), threads);
                DoubledField.Apply(flow!.Apply(stage, arena.At(raw), threads), 3 * samples, Half(size), own, threads);
                return;
        }
    }

    /// <summary>The deformation and the total after a stage.</summary>
    private void Join(int stage, int threads)
    {
        if (stage > 0)
        {
            float* own = arena.At(memory[stage].Own);
            float* joined = arena.At(memory[stage].Deformation);
            PlanarWarp.Apply(own, arena.At(DeformationOf(stage - 1)), samples, 3, grid, joined, threads);
            FieldSums.Add(own, joined, field, threads);
        }

        if (affine.Exists)
        {
            float* deformation = arena.At(DeformationOf(stage));
            AffineField.Total(
                affine.Matrix, affine.Shift, deformation, samples, size, arena.At(memory[stage].Total), threads);
        }
    }

    /// <summary>A gradient that is given, or zeros.</summary>
    private void Take(float* given, long to, nint count)
    {
        if (given == null)
        {
            NativeMemory.Clear(arena.At(to), (nuint)count * sizeof(float));
        }
        else
        {
            NativeMemory.Copy(given, arena.At(to), (nuint)count * sizeof(float));
        }
    }

    /// <summary>Adds to the gradient by the total what the moved image brings.</summary>
    private void AddThroughWarp(float* total, float* ofMoved, int threads)
    {
        if (ofMoved != null)
        {
            float* found = arena.At(byWarp);
            PlanarWarp.Gradient(total, images.Moving, ofMoved, samples, 1, grid, found, null, threads);
            FieldSums.Add(found, arena.At(byTotal), field, threads);
        }
    }

    private void AddAffine(float* deformation, float* byIt, double[] byAffine, int threads)
    {
        fixed (double* sums = byAffine)
        {
            AffineField.Gradient(
                affine.Matrix, deformation, arena.At(byTotal), samples, size, byIt, sums, sums + (9 * samples), threads);
        }
    }

    /// <summary>Adds to the gradient by the deformation, of which the stages behind have left their part, that by the total.</summary>
    private void BackToDeformation(int stage, double[] byAffine, int threads)
    {
        float* by = arena.At(byDeformation);
        bool isLast = stage == graphs.Length - 1;
        float* share = arena.At(byTotal);
        if (affine.Exists)
        {
            share = isLast ? by : arena.At(byWarp);
            AddAffine(arena.At(DeformationOf(stage)), share, byAffine, threads);
        }

        if (!isLast)
        {
            FieldSums.Add(share, by, field, threads);
        }
        else if (share != by)
        {
            NativeMemory.Copy(share, by, (nuint)field * sizeof(float));
        }
    }

    /// <summary>The gradient by a stage's own field; that by the deformation before it takes the place of that after it.</summary>
    private void BackToOwn(int stage, float* given, int threads)
    {
        float* by = arena.At(byDeformation);
        float* own = arena.At(byOwn);
        NativeMemory.Copy(by, own, (nuint)field * sizeof(float));
        if (given != null)
        {
            FieldSums.Add(given, own, field, threads);
        }

        if (stage > 0)
        {
            float* found = arena.At(byWarp);
            float* before = arena.At(DeformationOf(stage - 1));
            PlanarWarp.Gradient(OwnField(stage), before, by, samples, 3, grid, found, by, threads);
            FieldSums.Add(found, own, field, threads);
        }
    }

    private void BackThroughStage(int stage, bool wantsImage, int threads)
    {
        float* by = arena.At(byOwn);
        if (ending != StageEnding.Full)
        {
            float* small = arena.At(byRaw);
            DoubledField.Gradient(by, 3 * samples, Half(size), small, threads);
            by = small;
        }

        flow?.Back(stage, by, threads);
        PairMemory byImages = new(arena.At(byFixed), arena.At(byMoved), (nint)grid.Count);
        graphs[stage].Backward(by, wantsImage ? byImages : null, threads);
    }

    /// <summary>What a stage's way forward leaves behind.</summary>
    private sealed class StageMemory(Arena arena, nint field, nint image, int stage)
    {
        internal long Own { get; } = arena.Reserve(field);

        internal long Deformation { get; } = stage == 0 ? 0 : arena.Reserve(field);

        internal long Total { get; } = arena.Reserve(field);

        internal long Moved { get; } = arena.Reserve(image);
    }
}
