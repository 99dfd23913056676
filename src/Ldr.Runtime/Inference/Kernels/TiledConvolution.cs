using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// A convolution with stride 1 or 2, or a transposed convolution 4³ with stride 2 as its phases: for outputs of one parity
/// along each axis it is a dense product with 2³ of its taps. Where the outputs of one phase are no more than a vector has
/// lanes, two phases share a tile: output 2x − 1 and output 2x see the same inputs, x − 1 and x.
/// </summary>
internal sealed unsafe class TiledConvolution<TLanes, TVector> : FilteredOperation
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Positions of a chunk: enough to use weights again from the second-level cache.</summary>
    private const int ChunkPositions = 128;

    /// <summary>From so many ranges on, a chunk does all blocks of a range, and finds its inputs in its own cache.</summary>
    private const int EnoughRanges = 24;

    /// <summary>From so many ranges on, it does all phases too.</summary>
    private const int ManyRanges = 64;

    private readonly FeatureMap input;
    private readonly FeatureMap output;
    private readonly Phase[] phases;
    private readonly FilterPacking packing;
    private readonly Ending ending;
    private readonly int inputStep;
    private readonly int outputStep;
    private readonly int phasesOfChunk;
    private readonly int blocksOfChunk;

    private TiledConvolution(
        string name,
        FeatureMap input,
        FeatureMap output,
        (int Input, int Output) steps,
        Phase[] phases,
        FilterPacking packing,
        Ending ending,
        double flops)
    {
        Name = name;
        this.input = input;
        this.output = output;
        this.phases = phases;
        this.packing = packing;
        this.ending = ending;
        (inputStep, outputStep) = steps;
        Flops = flops;
        int ranges = phases[0].Ranges;
        int blocks = phases[0].Blocks;
        phasesOfChunk = ranges >= ManyRanges ? phases.Length : 1;
        blocksOfChunk = ranges >= EnoughRanges ? blocks : 1;
        Chunks = ranges * (phases.Length / phasesOfChunk) * (blocks / blocksOfChunk);
    }

    internal override string Name { get; }

    internal override double Flops { get; }

    internal override int Chunks { get; }

    internal override int PackingChunks => packing.Chunks;

    /// <summary>A convolution with padding 1, from some channels of a map to some of another.</summary>
    /// <param name="name">What profiles call it.</param>
    /// <param name="shape">Kernel 3 or 4.</param>
    /// <param name="input">What it reads.</param>
    /// <param name="firstInput">From which channel on.</param>
    /// <param name="output">What it writes.</param>
    /// <param name="firstOutput">From which channel on.</param>
    /// <param name="ending">What follows.</param>
    /// <param name="stride">1 or 2.</param>
    /// <param name="mirrored">Whether the kernel is used mirrored: the way back of stride 1.</param>
    internal static TiledConvolution<TLanes, TVector> Convolution(
        string name,
        FilterShape shape,
        FeatureMap input,
        int firstInput,
        FeatureMap output,
        int firstOutput,
        Ending ending,
        int stride = 2,
        bool mirrored = false)
    {
        int side = shape.Side;
        bool dense = shape.Inputs == input.Channels;
        nint[] runs = new nint[dense ? side * side : shape.Taps];
        for (int i = 0; i < runs.Length; i++)
        {
            runs[i] = dense
                ? (i / side * input.Plane) + (i % side * input.Row)
                : (i / (side * side) * input.Plane) + (i / side % side * input.Row) + ((nint)(i % side) * input.Channels);
        }

        PackedFilter packed = new(2 * TLanes.Count, shape.Outputs, shape.Taps * shape.Inputs);
        FilterPacking packing = new(shape, TLanes.Count);
        packing.Add(packed, FilterPacking.InOrder(shape.Taps, mirrored), 0);
        Phase phase = new(
            (output.Nx, output.Ny, output.Nz),
            input.Offset(-1, -1, -1) + firstInput,
            output.Offset(0, 0, 0) + firstOutput,
            runs,
            packed.Length / runs.Length,
            shape.Outputs,
            packed,
            IsPair: false);
        double flops = 2.0 * output.Nx * output.Ny * output.Nz * shape.Outputs * packed.Length;
        return new TiledConvolution<TLanes, TVector>(name, input, output, (stride, 1), [phase], packing, ending, flops);
    }

    /// <summary>
    /// A transposed convolution of stride 2 and padding 1, kernel 4 (or 3, as the way back of a convolution of stride 2), from
    /// some channels of a map to some of one of twice its size.
    /// </summary>
    internal static TiledConvolution<TLanes, TVector> Doubling(
        string name, FilterShape shape, FeatureMap input, int firstInput, FeatureMap output, int firstOutput, Ending ending)
    {
        bool pairs = shape.Outputs <= TLanes.Count;
        bool dense = shape.Inputs == input.Channels;
        nint far = input.Plane;
        nint[] runs = dense
            ? [0, input.Row, far, far + input.Row]
            :
            [
                0, input.Channels, input.Row, input.Row + input.Channels,
                far, far + input.Channels, far + input.Row, far + input.Row + input.Channels,
            ];
        int length = 8 * shape.Inputs;
        FilterPacking packing = new(shape, TLanes.Count);
        List<Phase> phases = [];
        for (int phase = 0; phase < (pairs ? 4 : 8); phase++)
        {
            (int pz, int py, int px) = pairs ? (phase / 2, phase % 2, 0) : (phase / 4, phase / 2 % 2, phase % 2);

            PackedFilter packed = new(2 * TLanes.Count, pairs ? 2 * TLanes.Count : shape.Outputs, length);
            if (pairs)
            {
                packing.Add(packed, TapsOf(shape.Side, pz, py, 1), 0);
                packing.Add(packed, TapsOf(shape.Side, pz, py, 0), TLanes.Count);
            }
            else
            {
                packing.Add(packed, TapsOf(shape.Side, pz, py, px), 0);
            }

            phases.Add(new Phase(
                (pairs ? input.Nx + 1 : input.Nx, input.Ny, input.Nz),
                input.Offset(px - 1, py - 1, pz - 1) + firstInput,
                output.Offset(px, py, pz) + firstOutput,
                runs,
                length / runs.Length,
                shape.Outputs,
                packed,
                pairs));
        }

        double flops = 2.0 * input.Nx * input.Ny * input.Nz * shape.Outputs * shape.Taps * shape.Inputs;
        return new TiledConvolution<TLanes, TVector>(name, input, output, (1, 2), [.. phases], packing, ending, flops);
    }

    /// <summary>The same on maps of the same sizes, with the same packed weights.</summary>
    internal TiledConvolution<TLanes, TVector> On(FeatureMap from, FeatureMap to, Ending then) =>
        new(Name, from, to, (inputStep, outputStep), phases, packing, then, Flops);

    /// <inheritdoc/>
    internal override void Pack(int chunk, float* weights, float* bias) => packing.Pack<TLanes, TVector>(chunk, weights, bias);

    /// <inheritdoc/>
    [SkipLocalsInit]
    internal override void Run(int chunk, byte* scratch)
    {
        float** inputs = stackalloc float*[ChunkPositions];
        float** outputs = stackalloc float*[2 * ChunkPositions];
        float* area = stackalloc float[(Tile<TLanes, TVector>.Positions * Tile<TLanes, TVector>.Channels) + TLanes.Count + 16];
        float* sums = (float*)(((nint)area + 63) & ~63);
        float* nowhere = sums + (Tile<TLanes, TVector>.Positions * Tile<TLanes, TVector>.Channels);

        // Chunks of one range follow each other: they read the same inputs.
        int groups = phases[0].Blocks / blocksOfChunk;
        int parts = phases.Length / phasesOfChunk * groups;
        int first = chunk / parts * ChunkPositions;
        int count = Math.Min(ChunkPositions, phases[0].Positions - first);
        int firstPhase = chunk % parts / groups * phasesOfChunk;
        int firstBlock = chunk % groups * blocksOfChunk;
        for (int index = firstPhase; index < firstPhase + phasesOfChunk; index++)
        {
            Locate(phases[index], first, count, inputs, outputs, nowhere);
            for (int block = firstBlock; block < firstBlock + blocksOfChunk; block++)
            {
                RunBlock(phases[index], block, count, inputs, outputs, sums, nowhere);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void RunBlock(Phase phase, int block, int count, float** inputs, float** outputs, float* sums, float* nowhere)
    {
        int channel = block * Tile<TLanes, TVector>.Channels;
        int left = phase.Channels - channel;
        int right = phase.IsPair ? left : left - TLanes.Count;
        int linear = ending.Linear - channel - (left - right);
        float* weights = phase.Packed.WeightsOf(block);
        float* bias = phase.Packed.BiasOf(block);
        fixed (nint* runs = phase.Runs)
        {
            for (int tile = 0; tile < count; tile += Tile<TLanes, TVector>.Positions)
            {
                Tile<TLanes, TVector>.Accumulate(
                    inputs + tile, runs, phase.Runs.Length, phase.RunLength, weights, bias, 0, sums);
                int positions = Math.Min(Tile<TLanes, TVector>.Positions, count - tile);
                float** to = outputs + (2 * tile);
                for (int i = 0; i < positions; i++)
                {
                    float* sum = sums + (i * Tile<TLanes, TVector>.Channels);
                    Write(sum, to[2 * i] + channel, left, ending.Linear - channel, nowhere + channel);
                    if (right > 0)
                    {
                        Write(sum + TLanes.Count, to[(2 * i) + 1] + channel, right, linear, nowhere + channel);
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Write(float* sum, float* output, int channels, int linear, float* nowhere)
    {
        if (ending.Values is null)
        {
            Tile<TLanes, TVector>.Finish(sum, output, channels, ending.Activation);
        }
        else if (output != nowhere)
        {
            nint distance = (nint)(ending.Values.At(-1, -1, -1) - this.output.At(-1, -1, -1));
            Tile<TLanes, TVector>.FinishGradient(sum, output, distance, channels, linear, ending.Slope, ending.Adds);
        }
    }

    /// <summary>
    /// The taps of a phase, −1 where a kernel of side 3 has none: output o = 2x + p reads input x + p − 1 + t through tap
    /// 3 − p − 2t of an axis.
    /// </summary>
    private static int[] TapsOf(int side, int pz, int py, int px)
    {
        int[] taps = new int[8];
        for (int i = 0; i < 8; i++)
        {
            (int z, int y, int x) = (3 - pz - (2 * (i / 4)), 3 - py - (2 * (i / 2 % 2)), 3 - px - (2 * (i % 2)));
            taps[i] = Math.Max(z, Math.Max(y, x)) < side ? (((z * side) + y) * side) + x : -1;
        }

        return taps;
    }

    /// <summary>Where the positions of a chunk read, and where the two vectors of each are written.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Locate(
        Phase phase, int first, int count, float** inputs, float** outputs, float* nowhere)
    {
        (int nx, int ny, _) = phase.Size;
        nint inputX = (nint)inputStep * input.Channels;
        nint inputY = inputStep * input.Row;
        nint outputX = (nint)outputStep * output.Channels;
        nint outputY = outputStep * output.Row;
        float* inputStart = input.At(-1, -1, -1) + phase.InputStart;
        float* outputStart = output.At(-1, -1, -1) + phase.OutputStart;
        int x = first % nx;
        int y = first / nx % ny;
        int z = first / nx / ny;
        int i = 0;
        while (i < count)
        {
            // A row, or what is left of it.
            float* from = inputStart + (z * inputStep * input.Plane) + (y * inputY) + (x * inputX);
            float* to = outputStart + (z * outputStep * output.Plane) + (y * outputY) + (x * outputX);
            int begin = i;
            int end = Math.Min(count, i + nx - x);
            bool whole = end - i == nx - x;
            for (; i < end; i++, from += inputX, to += outputX)
            {
                inputs[i] = from;
                outputs[2 * i] = phase.IsPair ? to - output.Channels : to;
                outputs[(2 * i) + 1] = phase.IsPair ? to : to + TLanes.Count;
            }

            if (phase.IsPair)
            {
                // The left output of the first position and the right one of the last lie outside the map.
                outputs[2 * begin] = x == 0 ? nowhere : outputs[2 * begin];
                outputs[(2 * end) - 1] = whole ? nowhere : outputs[(2 * end) - 1];
            }

            x = 0;
            if (++y == ny)
            {
                y = 0;
                z++;
            }
        }

        // The last tile may be short: its other positions read what the first one reads.
        for (; i % Tile<TLanes, TVector>.Positions != 0; i++)
        {
            inputs[i] = inputs[0];
        }
    }

    /// <summary>Outputs that are one dense product: of one parity along the axes, for the transposed convolution.</summary>
    private sealed record Phase(
        (int X, int Y, int Z) Size,
        nint InputStart,
        nint OutputStart,
        nint[] Runs,
        nint RunLength,
        int Channels,
        PackedFilter Packed,
        bool IsPair)
    {
        internal int Positions => Size.X * Size.Y * Size.Z;

        internal int Ranges => (Positions + ChunkPositions - 1) / ChunkPositions;

        internal int Blocks => Packed.Blocks;
    }
}
