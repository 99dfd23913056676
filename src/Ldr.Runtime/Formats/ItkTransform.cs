using System.Globalization;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Formats;

/// <summary>
/// One transform as ITK's files have it: a class name with its precision and dimensions
/// (<c>AffineTransform_double_3_3</c>), parameters, fixed parameters; world LPS, millimetres.
/// </summary>
/// <param name="Type">The class name.</param>
/// <param name="Parameters">What is optimised.</param>
/// <param name="Fixed">What stays: usually the centre of rotation.</param>
public sealed record ItkTransform(string Type, double[] Parameters, double[] Fixed)
{
    private static readonly Affine Flip = Affine.Scaling(-1, -1, 1);

    /// <summary>The class, without precision and dimensions.</summary>
    public string Name => Type.Split('_')[0];

    /// <summary>Whether this is the head of a list of transforms, which follow it.</summary>
    public bool IsComposite => Name == "CompositeTransform";

    /// <summary>Whether this is a displacement field: its vectors are parameters.</summary>
    public bool IsField => Name == "DisplacementFieldTransform";

    /// <summary>An affine map as ITK's AffineTransform, about the origin.</summary>
    /// <param name="world">From the fixed world to the moving world, mm, RAS+.</param>
    public static ItkTransform Of(Affine world)
    {
        ArgumentNullException.ThrowIfNull(world);
        Affine lps = Flip.Then(world).Then(Flip);
        double[] parameters = new double[12];
        for (int row = 0; row < 3; row++)
        {
            for (int column = 0; column < 3; column++)
            {
                parameters[(3 * row) + column] = lps[row, column];
            }

            parameters[9 + row] = lps[row, 3];
        }

        return new ItkTransform("AffineTransform_double_3_3", parameters, [0, 0, 0]);
    }

    /// <summary>
    /// The fixed parameters that describe a field's grid: size, origin, spacing, direction (row after row); in LPS.
    /// </summary>
    public static double[] FieldGrid(Grid grid)
    {
        ArgumentNullException.ThrowIfNull(grid);
        Affine lps = grid.VoxelToWorld.Then(Flip);
        (double sx, double sy, double sz) = grid.Spacing;
        double[] spacing = [sx, sy, sz];
        double[] result = [grid.Nx, grid.Ny, grid.Nz, lps[0, 3], lps[1, 3], lps[2, 3], sx, sy, sz, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (int i = 0; i < 9; i++)
        {
            result[9 + i] = lps[i / 3, i % 3] / spacing[i % 3];
        }

        return result;
    }

    /// <summary>The grid that a field's fixed parameters describe.</summary>
    /// <exception cref="InvalidFileException">They are not 18 numbers that make a grid.</exception>
    public static Grid FieldGrid(string path, double[] parameters)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        if (parameters.Length != 18)
        {
            throw new InvalidFileException(
                path, $"describes its field's grid by {parameters.Length} numbers", "18 are wanted: size, origin, spacing, direction");
        }

        double[][] columns = Enumerable.Range(0, 3)
            .Select(axis => Enumerable.Range(0, 3).Select(row => parameters[9 + (3 * row) + axis] * parameters[6 + axis]).ToArray())
            .ToArray();
        return RasterHeader.MakeGrid(path, parameters[..3], columns, parameters[3..6], lps: true);
    }

    /// <summary>
    /// The field of a DisplacementFieldTransform: vectors next to each other, millimetres, LPS.
    /// </summary>
    /// <exception cref="InvalidFileException">The numbers do not fit the grid, or are not finite.</exception>
    public static DisplacementField ToField(string path, Grid grid, float[] interleaved)
    {
        ArgumentNullException.ThrowIfNull(grid);
        ArgumentNullException.ThrowIfNull(interleaved);
        if (interleaved.LongLength != 3 * grid.Count)
        {
            throw new InvalidFileException(
                path, $"holds {interleaved.LongLength} numbers for a field of {grid.Count} voxels", $"{3 * grid.Count} are wanted");
        }

        float[] planes = new float[interleaved.Length];
        int count = (int)grid.Count;
        for (int i = 0; i < planes.Length; i++)
        {
            planes[((i % 3) * count) + (i / 3)] = interleaved[i];
        }

        return FieldVectors.FromLps(path, grid, planes);
    }

    /// <summary>The vectors of a field as ITK's DisplacementFieldTransform has them: next to each other, millimetres, LPS.</summary>
    public static float[] Vectors(DisplacementField field)
    {
        ArgumentNullException.ThrowIfNull(field);
        return FieldVectors.Interleaved(field);
    }

    /// <summary>The affine map of fixed world to moving world, RAS+.</summary>
    /// <param name="path">The file, for errors.</param>
    /// <exception cref="InvalidFileException">A class that is no affine map of 3-D, or not as many parameters as it has.</exception>
    public Affine ToAffine(string path)
    {
        if (Type.Split('_') is [_, _, string from, string to] && (from != "3" || to != "3"))
        {
            throw new InvalidFileException(path, $"holds a transform of {from}-D space ({Type})", "give one of 3-D space");
        }

        (double[,] matrix, double[] translation) = Name switch
        {
            "AffineTransform" or "MatrixOffsetTransformBase" or "Rigid3DTransform" or "ScalableAffineTransform" =>
                (Matrix(Need(path, 12)), Parameters[9..12]),
            "TranslationTransform" => (Diagonal(1, 1, 1), Need(path, 3)),
            "ScaleTransform" => (Diagonal(Need(path, 3)[0], Parameters[1], Parameters[2]), [0, 0, 0]),
            "IdentityTransform" => (Diagonal(1, 1, 1), [0, 0, 0]),
            "Euler3DTransform" => (Euler(Need(path, 6)), Parameters[3..6]),
            "VersorTransform" => (Versor(Need(path, 3), 1), [0, 0, 0]),
            "VersorRigid3DTransform" => (Versor(Need(path, 6), 1), Parameters[3..6]),
            "Similarity3DTransform" => (Versor(Need(path, 7), Parameters[6]), Parameters[3..6]),
            _ => throw new InvalidFileException(
                path,
                $"holds a {Type}, which is not read here",
                "export it as an affine transform or as a displacement field"),
        };
        bool aboutOrigin = Name is "TranslationTransform" or "IdentityTransform";
        double[] centre = aboutOrigin || Fixed.Length < 3 ? [0, 0, 0] : Fixed[..3];
        double[] rows = new double[12];
        for (int row = 0; row < 3; row++)
        {
            double turned = 0;
            for (int column = 0; column < 3; column++)
            {
                rows[(4 * row) + column] = matrix[row, column];
                turned += matrix[row, column] * centre[column];
            }

            rows[(4 * row) + 3] = translation[row] + centre[row] - turned;
        }

        Affine map = Flip.Then(Affine.FromRows(rows)).Then(Flip);
        return map.IsFinite && !map.IsSingular
            ? map
            : throw new InvalidFileException(path, "holds an affine map that is singular or not finite", "compute it again");
    }

    private static double[,] Diagonal(double x, double y, double z) => new[,] { { x, 0, 0 }, { 0, y, 0 }, { 0, 0, z } };

    private static double[,] Matrix(double[] p) => new[,] { { p[0], p[1], p[2] }, { p[3], p[4], p[5] }, { p[6], p[7], p[8] } };

    private static double[,] Product(double[,] a, double[,] b)
    {
        double[,] product = new double[3, 3];
        for (int i = 0; i < 27; i++)
        {
            product[i / 9, i / 3 % 3] += a[i / 9, i % 3] * b[i % 3, i / 3 % 3];
        }

        return product;
    }

    /// <summary>A unit quaternion's vector part.</summary>
    private static double[,] Versor(double[] p, double scale)
    {
        (double x, double y, double z) = (p[0], p[1], p[2]);
        double w = Math.Sqrt(Math.Max(0, 1 - (x * x) - (y * y) - (z * z)));
        return new[,]
        {
            { scale * (1 - (2 * ((y * y) + (z * z)))), scale * 2 * ((x * y) - (z * w)), scale * 2 * ((x * z) + (y * w)) },
            { scale * 2 * ((x * y) + (z * w)), scale * (1 - (2 * ((x * x) + (z * z)))), scale * 2 * ((y * z) - (x * w)) },
            { scale * 2 * ((x * z) - (y * w)), scale * 2 * ((y * z) + (x * w)), scale * (1 - (2 * ((x * x) + (y * y)))) },
        };
    }

    /// <summary>Rz·Rx·Ry, or Rz·Ry·Rx where the fourth fixed parameter is set.</summary>
    private double[,] Euler(double[] p)
    {
        (double cx, double sx) = (Math.Cos(p[0]), Math.Sin(p[0]));
        (double cy, double sy) = (Math.Cos(p[1]), Math.Sin(p[1]));
        (double cz, double sz) = (Math.Cos(p[2]), Math.Sin(p[2]));
        double[,] x = { { 1, 0, 0 }, { 0, cx, -sx }, { 0, sx, cx } };
        double[,] y = { { cy, 0, sy }, { 0, 1, 0 }, { -sy, 0, cy } };
        double[,] z = { { cz, -sz, 0 }, { sz, cz, 0 }, { 0, 0, 1 } };
        return Fixed.Length > 3 && Fixed[3] != 0 ? Product(z, Product(y, x)) : Product(z, Product(x, y));
    }

    private double[] Need(string path, int count) => Parameters.Length == count
        ? Parameters
        : throw new InvalidFileException(
            path,
            string.Create(CultureInfo.InvariantCulture, $"has {Parameters.Length} parameters for its {Type}"),
            $"{count} are wanted");
}
