using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>Affine maps of FSL and FreeSurfer, read only.</summary>
internal static class ForeignAffine
{
    /// <summary>
    /// FLIRT's 4×4 matrix: from the moving to the fixed scan, in millimetres of each one's voxel axes, the first axis turned round where
    /// the voxel-to-world map is right-handed. Needs both grids.
    /// </summary>
    internal static Affine ReadFsl(string path, Grid? fixedGrid, Grid? movingGrid)
    {
        double[] numbers = RasterHeader.Numbers(path, "matrix", ItkTransformText.TextOf(path).Replace('\n', ' ').Replace('\r', ' '));
        if (numbers.Length != 16)
        {
            throw new InvalidFileException(path, $"holds {numbers.Length} numbers", "a matrix of FSL has 4 × 4; ITK's have names in them");
        }

        if (fixedGrid is null || movingGrid is null)
        {
            throw new InvalidFileException(
                path, "is a matrix of FSL, which says nothing about the scans that it belongs to", "name its reference scan and its moving scan");
        }

        Affine movingToFixed = Checked(path, Affine.FromRows(numbers[..12]));
        return Checked(path, fixedGrid.WorldToVoxel.Then(FslSpace(fixedGrid))
            .Then(movingToFixed.Inverse())
            .Then(FslSpace(movingGrid).Inverse()).Then(movingGrid.VoxelToWorld));
    }

    /// <summary>FreeSurfer's .lta of type 0 (voxel to voxel) or 1 (RAS to RAS): from the moving (src) to the fixed (dst) scan.</summary>
    internal static Affine ReadLta(string path)
    {
        string[] lines = ItkTransformText.TextOf(path).Split('\n').Select(line => line.Split('#')[0].Trim()).ToArray();
        int type = -1;
        List<double> matrix = [];
        List<Dictionary<string, string>> infos = [];
        for (int i = 0; i < lines.Length; i++)
        {
            string line = lines[i];
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            if (line == "1 4 4" && i + 4 < lines.Length)
            {
                for (int row = 1; row <= 4; row++)
                {
                    matrix.AddRange(RasterHeader.Numbers(path, "matrix", lines[i + row], 4));
                }
            }
            else if (line.EndsWith("volume info", StringComparison.Ordinal))
            {
                infos.Add([]);
            }
            else if (equals > 0 && line[..equals].Trim() == "type" && infos.Count == 0)
            {
                type = (int)RasterHeader.Numbers(path, "type", line[(equals + 1)..], 1)[0];
            }
            else if (equals > 0 && infos.Count > 0)
            {
                infos[^1][line[..equals].Trim()] = line[(equals + 1)..].Trim();
            }
        }

        if (type is not (0 or 1) || matrix.Count != 16 || infos.Count != 2)
        {
            throw new InvalidFileException(
                path, "is no single affine map of FreeSurfer", "give an .lta of type 0 or 1 with one matrix and two volume infos");
        }

        Affine forward = Checked(path, Affine.FromRows(matrix.ToArray().AsSpan(0, 12)));
        if (type == 1)
        {
            return Checked(path, forward.Inverse());
        }

        return Checked(path, VoxelToWorld(path, infos[1]).Inverse().Then(forward.Inverse()).Then(VoxelToWorld(path, infos[0])));
    }

    private static Affine Checked(string path, Affine map) => map.IsFinite && !map.IsSingular
        ? map
        : throw new InvalidFileException(path, "holds an affine map that is singular or not finite", "compute it again");

    private static Affine FslSpace(Grid grid)
    {
        (double x, double y, double z) = grid.Spacing;
        Affine scale = Affine.Scaling(x, y, z);
        return grid.VoxelToWorld.Determinant > 0
            ? scale.Then(Affine.Scaling(-1, 1, 1)).Then(Affine.Translation((grid.Nx - 1) * x, 0, 0))
            : scale;
    }

    private static Affine VoxelToWorld(string path, Dictionary<string, string> info)
    {
        double[] Three(string key) => info.TryGetValue(key, out string? text)
            ? RasterHeader.Numbers(path, key, text, 3)
            : throw new InvalidFileException(path, $"has no line '{key}' in a volume info", "write it again with FreeSurfer");
        double[] size = Three("volume");
        double[] spacing = Three("voxelsize");
        double[][] axes = [Three("xras"), Three("yras"), Three("zras")];
        double[] centre = Three("cras");
        double[] rows = new double[12];
        for (int row = 0; row < 3; row++)
        {
            rows[(4 * row) + 3] = centre[row];
            for (int column = 0; column < 3; column++)
            {
                double entry = axes[column][row] * spacing[column];
                rows[(4 * row) + column] = entry;
                rows[(4 * row) + 3] -= entry * size[column] / 2;
            }
        }

        return Checked(path, Affine.FromRows(rows));
    }
}
