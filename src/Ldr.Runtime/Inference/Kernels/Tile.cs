using System.Runtime.CompilerServices;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// The register tile under every convolution: sums[position][channel] += Σ input[position][k] · weight[k][channel], for
/// eight positions and two vectors of channels (or sixteen positions and one). Inputs are broadcast, so positions may
/// lie anywhere; for each of them the k-th number is at the same distance from its pointer, in runs of consecutive
/// numbers. The order of the additions depends on nothing but the weights, so results do not depend on how positions
/// are shared out.
/// </summary>
internal static unsafe class Tile<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : struct
{
    /// <summary>Positions of a tile.</summary>
    internal const int Positions = 8;

    /// <summary>Channels of a tile of two vectors.</summary>
    internal static int Channels
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => 2 * TLanes.Count;
    }

    /// <summary>Eight positions, two vectors of channels.</summary>
    /// <param name="inputs">Eight pointers.</param>
    /// <param name="runs">The distance of each run from the pointers, in numbers.</param>
    /// <param name="runCount">How many runs.</param>
    /// <param name="runLength">How many numbers a run has.</param>
    /// <param name="weights">Two vectors for each number of each run.</param>
    /// <param name="start">What the sums start from.</param>
    /// <param name="startStride">From one position's start to the next one's; 0 for a bias.</param>
    /// <param name="sums">Eight positions of two vectors.</param>
    internal static void Accumulate(
        float** inputs, nint* runs, int runCount, nint runLength, float* weights, float* start, nint startStride, float* sums)
    {
        if (TLanes.ManyRegisters)
        {
            Eight(inputs, runs, runCount, runLength, weights, start, startStride, sums);
        }
        else
        {
            Four(inputs, runs, runCount, runLength, weights, start, startStride, sums);
            Four(
                inputs + 4,
                runs,
                runCount,
                runLength,
                weights,
                start + (4 * startStride),
                startStride,
                sums + (4 * Channels));
        }
    }

    /// <summary>
    /// Sixteen positions, one vector of channels, for machines with many registers: the second eight positions lie at a
    /// fixed distance from the first.
    /// </summary>
    /// <param name="inputs">Eight pointers.</param>
    /// <param name="distance">From each of them to the position's partner.</param>
    /// <param name="runs">The distance of each run from the pointers, in numbers.</param>
    /// <param name="runCount">How many runs.</param>
    /// <param name="runLength">How many numbers a run has.</param>
    /// <param name="weights">One vector for each number of each run.</param>
    /// <param name="bias">One vector that the sums start from.</param>
    /// <param name="sums">Sixteen positions of one vector.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void AccumulateNarrow(
        float** inputs, nint distance, nint* runs, int runCount, nint runLength, float* weights, float* bias, float* sums)
    {
        float* p0 = inputs[0];
        float* p1 = inputs[1];
        float* p2 = inputs[2];
        float* p3 = inputs[3];
        float* p4 = inputs[4];
        float* p5 = inputs[5];
        float* p6 = inputs[6];
        float* p7 = inputs[7];
        TVector a0 = TLanes.Load(bias);
        TVector b0 = a0;
        TVector a1 = TLanes.Load(bias);
        TVector b1 = a1;
        TVector a2 = TLanes.Load(bias);
        TVector b2 = a2;
        TVector a3 = TLanes.Load(bias);
        TVector b3 = a3;
        TVector a4 = TLanes.Load(bias);
        TVector b4 = a4;
        TVector a5 = TLanes.Load(bias);
        TVector b5 = a5;
        TVector a6 = TLanes.Load(bias);
        TVector b6 = a6;
        TVector a7 = TLanes.Load(bias);
        TVector b7 = a7;
        for (int run = 0; run < runCount; run++)
        {
            nint k = runs[run];
            nint far = k + distance;
            nint end = k + runLength;
            do
            {
                TVector w = TLanes.Load(weights);
                a0 = TLanes.MultiplyAdd(TLanes.Broadcast(p0[k]), w, a0);
                b0 = TLanes.MultiplyAdd(TLanes.Broadcast(p0[far]), w, b0);
                a1 = TLanes.MultiplyAdd(TLanes.Broadcast(p1[k]), w, a1);
                b1 = TLanes.MultiplyAdd(TLanes.Broadcast(p1[far]), w, b1);
                a2 = TLanes.MultiplyAdd(TLanes.Broadcast(p2[k]), w, a2);
                b2 = TLanes.MultiplyAdd(TLanes.Broadcast(p2[far]), w, b2);
                a3 = TLanes.MultiplyAdd(TLanes.Broadcast(p3[k]), w, a3);
                b3 = TLanes.MultiplyAdd(TLanes.Broadcast(p3[far]), w, b3);
                a4 = TLanes.MultiplyAdd(TLanes.Broadcast(p4[k]), w, a4);
                b4 = TLanes.MultiplyAdd(TLanes.Broadcast(p4[far]), w, b4);
                a5 = TLanes.MultiplyAdd(TLanes.Broadcast(p5[k]), w, a5);
                b5 = TLanes.MultiplyAdd(TLanes.Broadcast(p5[far]), w, b5);
                a6 = TLanes.MultiplyAdd(TLanes.Broadcast(p6[k]), w, a6);
                b6 = TLanes.MultiplyAdd(TLanes.Broadcast(p6[far]), w, b6);
                a7 = TLanes.MultiplyAdd(TLanes.Broadcast(p7[k]), w, a7);
                b7 = TLanes.MultiplyAdd(TLanes.Broadcast(p7[far]), w, b7);
                weights += TLanes.Count;
                k++;
                far++;
            }
            while (k < end);
        }

        TLanes.Store(a0, sums + (0 * TLanes.Count));
        TLanes.Store(a1, sums + (1 * TLanes.Count));
        TLanes.Store(a2, sums + (2 * TLanes.Count));
        TLanes.Store(a3, sums + (3 * TLanes.Count));
        TLanes.Store(a4, sums + (4 * TLanes.Count));
        TLanes.Store(a5, sums + (5 * TLanes.Count));
        TLanes.Store(a6, sums + (6 * TLanes.Count));
        TLanes.Store(a7, sums + (7 * TLanes.Count));
        TLanes.Store(b0, sums + (8 * TLanes.Count));
        TLanes.Store(b1, sums + (9 * TLanes.Count));
        TLanes.Store(b2, sums + (10 * TLanes.Count));
        TLanes.Store(b3, sums + (11 * TLanes.Count));
        TLanes.Store(b4, sums + (12 * TLanes.Count));
        TLanes.Store(b5, sums + (13 * TLanes.Count));
        TLanes.Store(b6, sums + (14 * TLanes.Count));
        TLanes.Store(b7, sums + (15 * TLanes.Count));
    }

    /// <summary>A vector of sums after the activation, to where it belongs: all lanes, or the first ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Finish(float* sums, float* output, int channels, Activation activation)
    {
        TVector sum = TLanes.Load(sums);
        if (activation == Activation.Relu)
        {
            sum = TLanes.Max(sum, default);
        }
        else if (activation == Activation.LeakyRelu)
        {
            sum = TLanes.Max(sum, TLanes.Multiply(sum, TLanes.Broadcast(0.1f)));
        }

        if (channels >= TLanes.Count)
        {
            TLanes.Store(sum, output);
            return;
        }

        TLanes.Store(sum, sums);
        for (int channel = 0; channel < channels; channel++)
        {
            output[channel] = sums[channel];
        }
    }

    /// <summary>Writes a vector of gradients behind an activation, or fewer numbers.</summary>
    /// <param name="sums">The gradients of the activation's outputs.</param>
    /// <param name="output">Where the gradients of its inputs go.</param>
    /// <param name="values">How far from there the activation's outputs lie.</param>
    /// <param name="channels">How many numbers.</param>
    /// <param name="linear">From which of them on there is no activation.</param>
    /// <param name="slope">The slope of the activation of negative values.</param>
    /// <param name="adds">Whether they are added to what is there.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void FinishGradient(
        float* sums, float* output, nint values, int channels, int linear, float slope, bool adds)
    {
        if (channels >= TLanes.Count && linear >= TLanes.Count)
        {
            TVector sum = TLanes.Load(sums);
            sum = TLanes.WherePositive(TLanes.Load(output + values), sum, TLanes.Multiply(sum, TLanes.Broadcast(slope)));
            TLanes.Store(adds ? TLanes.Add(sum, TLanes.Load(output)) : sum, output);
            return;
        }

        for (int channel = 0; channel < Math.Min(channels, TLanes.Count); channel++)
        {
            float sum = channel >= linear || output[values + channel] > 0 ? sums[channel] : slope * sums[channel];
            output[channel] = adds ? output[channel] + sum : sum;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Eight(
        float** inputs, nint* runs, int runCount, nint runLength, float* weights, float* start, nint startStride, float* sums)
    {
        float* p0 = inputs[0];
        float* p1 = inputs[1];
        float* p2 = inputs[2];
        float* p3 = inputs[3];
        float* p4 = inputs[4];
        float* p5 = inputs[5];
        float* p6 = inputs[6];
        float* p7 = inputs[7];
        TVector a0 = TLanes.Load(start);
        TVector b0 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a1 = TLanes.Load(start);
        TVector b1 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a2 = TLanes.Load(start);
        TVector b2 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a3 = TLanes.Load(start);
        TVector b3 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a4 = TLanes.Load(start);
        TVector b4 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a5 = TLanes.Load(start);
        TVector b5 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a6 = TLanes.Load(start);
        TVector b6 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a7 = TLanes.Load(start);
        TVector b7 = TLanes.Load(start + TLanes.Count);
        for (int run = 0; run < runCount; run++)
        {
            nint k = runs[run];
            nint end = k + runLength;
            do
            {
                TVector w0 = TLanes.Load(weights);
                TVector w1 = TLanes.Load(weights + TLanes.Count);
                TVector v = TLanes.Broadcast(p0[k]);
                a0 = TLanes.MultiplyAdd(v, w0, a0);
                b0 = TLanes.MultiplyAdd(v, w1, b0);
                v = TLanes.Broadcast(p1[k]);
                a1 = TLanes.MultiplyAdd(v, w0, a1);
                b1 = TLanes.MultiplyAdd(v, w1, b1);
                v = TLanes.Broadcast(p2[k]);
                a2 = TLanes.MultiplyAdd(v, w0, a2);
                b2 = TLanes.MultiplyAdd(v, w1, b2);
                v = TLanes.Broadcast(p3[k]);
                a3 = TLanes.MultiplyAdd(v, w0, a3);
                b3 = TLanes.MultiplyAdd(v, w1, b3);
                v = TLanes.Broadcast(p4[k]);
                a4 = TLanes.MultiplyAdd(v, w0, a4);
                b4 = TLanes.MultiplyAdd(v, w1, b4);
                v = TLanes.Broadcast(p5[k]);
                a5 = TLanes.MultiplyAdd(v, w0, a5);
                b5 = TLanes.MultiplyAdd(v, w1, b5);
                v = TLanes.Broadcast(p6[k]);
                a6 = TLanes.MultiplyAdd(v, w0, a6);
                b6 = TLanes.MultiplyAdd(v, w1, b6);
                v = TLanes.Broadcast(p7[k]);
                a7 = TLanes.MultiplyAdd(v, w0, a7);
                b7 = TLanes.MultiplyAdd(v, w1, b7);
                weights += 2 * TLanes.Count;
                k++;
            }
            while (k < end);
        }

        nint step = 2 * TLanes.Count;
        TLanes.Store(a0, sums);
        TLanes.Store(b0, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a1, sums);
        TLanes.Store(b1, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a2, sums);
        TLanes.Store(b2, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a3, sums);
        TLanes.Store(b3, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a4, sums);
        TLanes.Store(b4, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a5, sums);
        TLanes.Store(b5, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a6, sums);
        TLanes.Store(b6, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a7, sums);
        TLanes.Store(b7, sums + TLanes.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Four(
        float** inputs, nint* runs, int runCount, nint runLength, float* weights, float* start, nint startStride, float* sums)
    {
        float* p0 = inputs[0];
        float* p1 = inputs[1];
        float* p2 = inputs[2];
        float* p3 = inputs[3];
        TVector a0 = TLanes.Load(start);
        TVector b0 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a1 = TLanes.Load(start);
        TVector b1 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a2 = TLanes.Load(start);
        TVector b2 = TLanes.Load(start + TLanes.Count);
        start += startStride;
        TVector a3 = TLanes.Load(start);
        TVector b3 = TLanes.Load(start + TLanes.Count);
        for (int run = 0; run < runCount; run++)
        {
            nint k = runs[run];
            nint end = k + runLength;
            do
            {
                TVector w0 = TLanes.Load(weights);
                TVector w1 = TLanes.Load(weights + TLanes.Count);
                TVector v = TLanes.Broadcast(p0[k]);
                a0 = TLanes.MultiplyAdd(v, w0, a0);
                b0 = TLanes.MultiplyAdd(v, w1, b0);
                v = TLanes.Broadcast(p1[k]);
                a1 = TLanes.MultiplyAdd(v, w0, a1);
                b1 = TLanes.MultiplyAdd(v, w1, b1);
                v = TLanes.Broadcast(p2[k]);
                a2 = TLanes.MultiplyAdd(v, w0, a2);
                b2 = TLanes.MultiplyAdd(v, w1, b2);
                v = TLanes.Broadcast(p3[k]);
                a3 = TLanes.MultiplyAdd(v, w0, a3);
                b3 = TLanes.MultiplyAdd(v, w1, b3);
                weights += 2 * TLanes.Count;
                k++;
            }
            while (k < end);
        }

        nint step = 2 * TLanes.Count;
        TLanes.Store(a0, sums);
        TLanes.Store(b0, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a1, sums);
        TLanes.Store(b1, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a2, sums);
        TLanes.Store(b2, sums + TLanes.Count);
        sums += step;
        TLanes.Store(a3, sums);
        TLanes.Store(b3, sums + TLanes.Count);
    }
}
