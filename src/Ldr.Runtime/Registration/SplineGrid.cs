using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>
/// A displacement in a low-resolution basis: cubic B-splines on every <c>step</c>-th voxel of a grid; 3 channels, in voxels.
/// </summary>
internal sealed class SplineGrid
{
    private readonly Grid grid;
    private readonly int stepX;
    private readonly int stepY;
    private readonly int stepZ;
    private readonly float[] weightsX;
    private readonly float[] weightsY;
    private readonly float[] weightsZ;

    /// <summary>One part of the gradient per slice: [z][channel][cy][cx].</summary>
    private readonly float[] partial;

    internal SplineGrid(Grid grid, int stepX, int stepY, int stepZ)
    {
        this.grid = grid;
        this.stepX = stepX;
        this.stepY = stepY;
        this.stepZ = stepZ;
        Cx = ((grid.Nx - 1) / stepX) + 4;
        Cy = ((grid.Ny - 1) / stepY) + 4;
        Cz = ((grid.Nz - 1) / stepZ) + 4;
        weightsX = Weights(stepX);
        weightsY = Weights(stepY);
        weightsZ = Weights(stepZ);
        partial = new float[(long)3 * grid.Nz * Cx * Cy];
    }

    internal int Cx { get; }

    internal int Cy { get; }

    internal int Cz { get; }

    /// <summary>Numbers in a coefficient array: [channel][cz][cy][cx].</summary>
    internal int Count => 3 * Cx * Cy * Cz;

    /// <summary>Works out one slice's rows of displacements: <paramref name="row"/> gets y and three spans of nx.</summary>
    internal void Evaluate(float[] coefficients, int z, float[] scratch, Action<int, float[]> row)
    {
        int plane = Cx * Cy;
        int channelSize = plane * Cz;
        int nx = grid.Nx;
        Span<float> planes = scratch.AsSpan(3 * nx, 3 * plane);
        Span<float> line = scratch.AsSpan((3 * nx) + (3 * plane), Cx);
        planes.Clear();
        for (int c = 0; c < 3; c++)
        {
            for (int k = 0; k < 4; k++)
            {
                WorkImage.AddScaled(
                    planes.Slice(c * plane, plane),
                    coefficients.AsSpan((c * channelSize) + (((z / stepZ) + k) * plane), plane),
                    weightsZ[(4 * (z % stepZ)) + k]);
            }
        }

        for (int y = 0; y < grid.Ny; y++)
        {
            for (int c = 0; c < 3; c++)
            {
                line.Clear();
                for (int k = 0; k < 4; k++)
                {
                    WorkImage.AddScaled(
                        line, planes.Slice((c * plane) + (((y / stepY) + k) * Cx), Cx), weightsY[(4 * (y % stepY)) + k]);
                }

                Span<float> into = scratch.AsSpan(c * nx, nx);
                for (int x = 0, cell = 0; x < nx; cell++)
                {
                    float a = line[cell];
                    float b = line[cell + 1];
                    float d = line[cell + 2];
                    float e = line[cell + 3];
                    for (int phase = 0; phase < stepX && x < nx; phase++, x++)
                    {
                        ReadOnlySpan<float> w = weightsX.AsSpan(4 * phase, 4);
                        into[x] = (a * w[0]) + (b * w[1]) + (d * w[2]) + (e * w[3]);
                    }
                }
            }

            row(y, scratch);
        }
    }

    /// <summary>How many numbers <see cref="Evaluate"/> needs to work with; its rows come first.</summary>
    internal int ScratchSize => (3 * grid.Nx) + (3 * Cx * Cy) + Cx;

    /// <summary>Forgets a slice's part of the gradient.</summary>
    internal void ClearSlice(int z) => partial.AsSpan(3 * z * Cx * Cy, 3 * Cx * Cy).Clear();

    /// <summary>Adds a row of voxels' gradient (three channels) to its slice's part.</summary>
    internal void AddRow(int z, int y, int channel, ReadOnlySpan<float> gradient, Span<float> line)
    {
        line[..Cx].Clear();
        for (int x = 0, cell = 0; x < gradient.Length; cell++)
        {
            float a = 0;
            float b = 0;
            float d = 0;
            float e = 0;
            for (int phase = 0; phase < stepX && x < gradient.Length; phase++, x++)
            {
                ReadOnlySpan<float> w = weightsX.AsSpan(4 * phase, 4);
                float g = gradient[x];
                a += g * w[0];
                b += g * w[1];
                d += g * w[2];
                e += g * w[3];
            }

            line[cell] += a;
            line[cell + 1] += b;
            line[cell + 2] += d;
            line[cell + 3] += e;
        }

        Span<float> plane = partial.AsSpan(((3 * z) + channel) * Cx * Cy, Cx * Cy);
        for (int k = 0; k < 4; k++)
        {
            WorkImage.AddScaled(
                plane.Slice(((y / stepY) + k) * Cx, Cx), line[..Cx], weightsY[(4 * (y % stepY)) + k]);
        }
    }

    /// <summary>The sum of all slices' parts, in the order of the slices.</summary>
    internal void Collect(float[] gradient)
    {
        Array.Clear(gradient);
        int plane = Cx * Cy;
        for (int z = 0; z < grid.Nz; z++)
        {
            for (int c = 0; c < 3; c++)
            {
                for (int k = 0; k < 4; k++)
                {
                    WorkImage.AddScaled(
                        gradient.AsSpan((c * plane * Cz) + (((z / stepZ) + k) * plane), plane),
                        partial.AsSpan(((3 * z) + c) * plane, plane),
                        weightsZ[(4 * (z % stepZ)) + k]);
                }
            }
        }
    }

    private static float[] Weights(int step)
    {
        float[] weights = new float[4 * step];
        for (int phase = 0; phase < step; phase++)
        {
            double t = (double)phase / step;
            double s = 1 - t;
            weights[4 * phase] = (float)(s * s * s / 6);
            weights[(4 * phase) + 1] = (float)((2.0 / 3) - (0.5 * t * t * (2 - t)));
            weights[(4 * phase) + 2] = (float)((2.0 / 3) - (0.5 * s * s * (2 - s)));
            weights[(4 * phase) + 3] = (float)(t * t * t / 6);
        }

        return weights;
    }
}
