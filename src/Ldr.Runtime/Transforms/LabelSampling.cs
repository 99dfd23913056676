using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>Reads a label map on another grid as one plane for each label.</summary>
internal static unsafe class LabelSampling
{
    /// <summary>
    /// Planes that are 1 where a label is, else 0, interpolated, in one pass over the grid. Bit for bit what <see cref="Warp.Resample"/>
    /// makes of one such volume for each label.
    /// </summary>
    /// <param name="map">The label map.</param>
    /// <param name="labels">The labels, each once.</param>
    /// <param name="target">The grid of the result.</param>
    /// <param name="targetWorldToMapWorld">From the target's world to the label map's.</param>
    /// <returns>[L, Z, Y, X] in the order of <paramref name="labels"/>.</returns>
    internal static float[] Linear(Volume map, int[] labels, Grid target, Affine targetWorldToMapWorld)
    {
        Dictionary<float, int> planes = [];
        for (int i = 0; i < labels.Length; i++)
        {
            planes.Add(labels[i], i);
        }

        Affine toMap = target.VoxelsTo(map.Grid, targetWorldToMapWorld);
        float[] result = new float[checked((int)(labels.Length * target.Count))];
        Slices.ForEach(target, 0, z =>
        {
            fixed (float* from = map.Values, to = result)
            {
                Slice(from, map.Grid, planes, target, toMap, z, to);
            }
        });
        return result;
    }

    private static void Slice(
        float* source, Grid grid, Dictionary<float, int> planes, Grid target, Affine toMap, int z, float* result)
    {
        float* px = stackalloc float[3 * Sampling.Chunk];
        float* py = px + Sampling.Chunk;
        float* pz = py + Sampling.Chunk;
        float* corners = stackalloc float[Trilinear.Eight];
        ReadOnlySpan<float> around = new(corners, Trilinear.Eight);

        // NaN equals no label: the first voxel's is looked up.
        (float inside, int channel) = (float.NaN, -1);
        for (int y = 0; y < target.Ny; y++)
        {
            Sampling.Start start = new(toMap, y, z);
            nint row = target.Nx * (y + ((nint)target.Ny * z));
            for (int x = 0; x < target.Nx; x += Sampling.Chunk)
            {
                int count = Math.Min(Sampling.Chunk, target.Nx - x);
                Positions.Map(start, x, count, px, py, pz);
                for (int i = 0; i < count; i++)
                {
                    Trilinear.Cell cell = new(px[i], py[i], pz[i], grid.Nx, grid.Ny, grid.Nz);
                    cell.Load(source, corners);
                    float label = corners[0];
                    float* voxel = result + row + x + i;
                    if (!around.ContainsAnyExcept(label))
                    {
                        // Most voxels lie in one label, mostly that of the voxel before.
                        if (label != inside)
                        {
                            inside = label;
                            channel = planes.GetValueOrDefault(label, -1);
                        }

                        if (channel >= 0)
                        {
                            voxel[channel * (nint)target.Count] = 1;
                        }
                    }
                    else
                    {
                        Border(corners, cell, planes, voxel, (nint)target.Count);
                    }
                }
            }
        }
    }

    /// <summary>Sets one voxel in the planes of the labels around it; the others have 0 there.</summary>
    private static void Border(
        float* corners, in Trilinear.Cell cell, Dictionary<float, int> planes, float* voxel, nint plane)
    {
        float* only = stackalloc float[Trilinear.Eight];
        for (int k = 0; k < Trilinear.Eight; k++)
        {
            float label = corners[k];
            if (new ReadOnlySpan<float>(corners, k).Contains(label) || !planes.TryGetValue(label, out int channel))
            {
                continue;
            }

            for (int other = 0; other < Trilinear.Eight; other++)
            {
                only[other] = corners[other] == label ? 1 : 0;
            }

            voxel[channel * plane] = cell.Mix(only);
        }
    }
}
