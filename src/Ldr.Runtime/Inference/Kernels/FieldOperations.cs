using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Inference.Kernels;

/// <summary>
/// Where the voxels of a row are seen: x + d(x), under the affine map of a cascade if it has one, which is evaluated
/// exactly: (W + I) d + W x + b, with x from the centre of the grid.
/// </summary>
internal sealed unsafe class Displacement(PlanarField? deformation, AffineMap? affine, (int X, int Y, int Z) size)
{
    /// <summary>The displacement of a row; three runs of the row's length, one after the other.</summary>
    internal void Row(int y, int z, float* to)
    {
        int count = size.X;
        float* tx = to;
        float* ty = to + count;
        float* tz = ty + count;
        if (deformation is null)
        {
            new Span<float>(to, 3 * count).Clear();
        }
        else
        {
            for (int channel = 0; channel < 3; channel++)
            {
                new ReadOnlySpan<float>(deformation.Row(channel, y, z), count)
                    .CopyTo(new Span<float>(to + (channel * count), count));
            }
        }

        if (affine is null)
        {
            return;
        }

        float[] w = affine.Matrix;
        float centreX = (size.X - 1) / 2f;
        float py = y - ((size.Y - 1) / 2f);
        float pz = z - ((size.Z - 1) / 2f);
        for (int x = 0; x < count; x++)
        {
            // W x + b and (W + I) d together: d + W (x + d) + b.
            float ax = x - centreX + tx[x];
            float ay = py + ty[x];
            float az = pz + tz[x];
            tx[x] += (w[0] * ax) + (w[1] * ay) + (w[2] * az) + affine.Shift[0];
            ty[x] += (w[3] * ax) + (w[4] * ay) + (w[5] * az) + affine.Shift[1];
            tz[x] += (w[6] * ax) + (w[7] * ay) + (w[8] * az) + affine.Shift[2];
        }
    }
}

/// <summary>The original moving image, warped by the total of the fields so far, and that total if it is wanted.</summary>
internal sealed unsafe class WarpImage : Operation
{
    private readonly Displacement displacement;
    private readonly PlanarImage moving;
    private readonly (int X, int Y, int Z) size;

    internal WarpImage(string name, Displacement displacement, PlanarImage moving, (int X, int Y, int Z) size)
    {
        Name = name;
        this.displacement = displacement;
        this.moving = moving;
        this.size = size;
    }

    internal override string Name { get; }

    internal override int Chunks => size.Z;

    internal override int ScratchBytes => sizeof(float) * ((6 * size.X) + 64);

    /// <summary>Where the moved image goes; nowhere when null.</summary>
    internal PlanarImage? Moved { get; init; }

    /// <summary>Where the total field goes; nowhere when null.</summary>
    internal PlanarField? Total { get; init; }

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        int count = size.X;
        float* u = (float*)scratch;
        float* position = u + (3 * count);
        for (int y = 0; y < size.Y; y++)
        {
            displacement.Row(y, chunk, u);
            if (Total is not null)
            {
                for (int channel = 0; channel < 3; channel++)
                {
                    new ReadOnlySpan<float>(u + (channel * count), count)
                        .CopyTo(new Span<float>(Total.Row(channel, y, chunk), count));
                }
            }

            if (Moved is not null && Moved.Data != null)
            {
                Positions.Displace(u, count, 0, y, chunk, count, position, position + count, position + (2 * count));
                float* to = Moved.Data + ((((nint)chunk * size.Y) + y) * count);
                Trilinear.Sample(
                    moving.Data,
                    size.X,
                    size.Y,
                    size.Z,
                    1,
                    position,
                    position + count,
                    position + (2 * count),
                    count,
                    to,
                    (nint)size.X * size.Y * size.Z);
            }
        }
    }
}

/// <summary>
/// target(x) := before(x + after(x)) + after(x): an image goes through <c>before</c> first. The target may be <c>after</c>.
/// </summary>
internal sealed unsafe class ComposeFields(string name, PlanarField before, PlanarField after, PlanarField target) : Operation
{
    internal override string Name => name;

    internal override int Chunks => after.Size.Z;

    internal override int ScratchBytes => sizeof(float) * ((6 * after.Size.X) + 64);

    /// <inheritdoc/>
    internal override void Run(int chunk, byte* scratch)
    {
        int count = after.Size.X;
        float* position = (float*)scratch;
        float* sampled = position + (3 * count);
        for (int y = 0; y < after.Size.Y; y++)
        {
            Positions.Displace(
                after.Row(0, y, chunk),
                after.Count,
                0,
                y,
                chunk,
                count,
                position,
                position + count,
                position + (2 * count));
            Trilinear.Sample(
                before.Row(0, 0, 0),
                count,
                after.Size.Y,
                after.Size.Z,
                3,
                position,
                position + count,
                position + (2 * count),
                count,
                sampled,
                count);
            for (int channel = 0; channel < 3; channel++)
            {
                float* own = after.Row(channel, y, chunk);
                float* to = target.Row(channel, y, chunk);
                for (int x = 0; x < count; x++)
                {
                    to[x] = own[x] + sampled[(channel * count) + x];
                }
            }
        }
    }
}
