namespace Ldr.Runtime.Geometry;

/// <summary>
/// An immutable affine map of 3-D space: a 3×4 matrix of doubles, applied to column vectors,
/// <c>p ↦ M·p + t</c>. What its two spaces are (voxels, millimetres) is said where it is used.
/// </summary>
public sealed class Affine : IEquatable<Affine>
{
    private readonly double[] rows;

    private Affine(double[] rows) => this.rows = rows;

    /// <summary>The map that leaves every point where it is.</summary>
    public static Affine Identity { get; } = new([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);

    /// <summary>The entry at a row (0 to 2) and a column (0 to 3; column 3 is the translation).</summary>
    /// <exception cref="ArgumentOutOfRangeException">A row or column outside the 3×4 matrix.</exception>
    public double this[int row, int column]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(row);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(row, 2);
            ArgumentOutOfRangeException.ThrowIfNegative(column);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(column, 3);
            return rows[(4 * row) + column];
        }
    }

    /// <summary>The determinant of the linear part: the factor by which volumes grow; negative when handedness flips.</summary>
    public double Determinant =>
        (rows[0] * ((rows[5] * rows[10]) - (rows[6] * rows[9])))
        - (rows[1] * ((rows[4] * rows[10]) - (rows[6] * rows[8])))
        + (rows[2] * ((rows[4] * rows[9]) - (rows[5] * rows[8])));

    /// <summary>Whether every entry is a finite number.</summary>
    public bool IsFinite => Array.TrueForAll(rows, double.IsFinite);

    /// <summary>
    /// Whether the linear part cannot be inverted: its determinant is not larger than 1e-12 of what
    /// orthogonal columns of the same lengths would give, or it is not finite.
    /// </summary>
    public bool IsSingular
    {
        get
        {
            double volume = ColumnLength(0) * ColumnLength(1) * ColumnLength(2);
            return !(double.IsFinite(volume) && Math.Abs(Determinant) > 1e-12 * volume);
        }
    }

    /// <summary>Makes a map from the 12 entries of its three rows (the fourth entry of a row is the translation).</summary>
    /// <exception cref="ArgumentException">Not exactly 12 values.</exception>
    public static Affine FromRows(params double[] values)
    {
        ArgumentNullException.ThrowIfNull(values);
        return FromRows(values.AsSpan());
    }

    /// <inheritdoc cref="FromRows(double[])"/>
    public static Affine FromRows(ReadOnlySpan<double> values) =>
        values.Length == 12
            ? new Affine(values.ToArray())
            : throw new ArgumentException($"an affine map has 12 entries, not {values.Length}", nameof(values));

    /// <summary>The map that adds a constant vector.</summary>
    public static Affine Translation(double x, double y, double z) => new([1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, z]);

    /// <summary>The map that multiplies each coordinate by its own factor.</summary>
    public static Affine Scaling(double x, double y, double z) => new([x, 0, 0, 0, 0, y, 0, 0, 0, 0, z, 0]);

    /// <summary>Moves a point.</summary>
    public (double X, double Y, double Z) Apply(double x, double y, double z) =>
        ((rows[0] * x) + (rows[1] * y) + (rows[2] * z) + rows[3],
         (rows[4] * x) + (rows[5] * y) + (rows[6] * z) + rows[7],
         (rows[8] * x) + (rows[9] * y) + (rows[10] * z) + rows[11]);

    /// <summary>Turns and stretches a vector: the map without its translation.</summary>
    public (double X, double Y, double Z) ApplyLinear(double x, double y, double z) =>
        ((rows[0] * x) + (rows[1] * y) + (rows[2] * z),
         (rows[4] * x) + (rows[5] * y) + (rows[6] * z),
         (rows[8] * x) + (rows[9] * y) + (rows[10] * z));

    /// <summary>
    /// This map first, then <paramref name="next"/>: <c>a.Then(b).Apply(p) = b.Apply(a.Apply(p))</c>
    /// (the matrix product <c>next · this</c>).
    /// </summary>
    public Affine Then(Affine next)
    {
        ArgumentNullException.ThrowIfNull(next);
        double[] product = new double[12];
        for (int row = 0; row < 3; row++)
        {
            for (int column = 0; column < 4; column++)
            {
                double sum = column == 3 ? next.rows[(4 * row) + 3] : 0;
                for (int inner = 0; inner < 3; inner++)
                {
                    sum += next.rows[(4 * row) + inner] * rows[(4 * inner) + column];
                }

                product[(4 * row) + column] = sum;
            }
        }

        return new Affine(product);
    }

    /// <summary>The map that undoes this one.</summary>
    /// <exception cref="InvalidOperationException">The map is singular or not finite.</exception>
    public Affine Inverse()
    {
        if (IsSingular)
        {
            throw new InvalidOperationException($"the affine map {this} is singular and has no inverse");
        }

        double[] m = rows;
        double scale = 1 / Determinant;
        double[] inverse =
        [
            scale * ((m[5] * m[10]) - (m[6] * m[9])), scale * ((m[2] * m[9]) - (m[1] * m[10])), scale * ((m[1] * m[6]) - (m[2] * m[5])), 0,
            scale * ((m[6] * m[8]) - (m[4] * m[10])), scale * ((m[0] * m[10]) - (m[2] * m[8])), scale * ((m[2] * m[4]) - (m[0] * m[6])), 0,
            scale * ((m[4] * m[9]) - (m[5] * m[8])), scale * ((m[1] * m[8]) - (m[0] * m[9])), scale * ((m[0] * m[5]) - (m[1] * m[4])), 0,
        ];
        for (int row = 0; row < 12; row += 4)
        {
            inverse[row + 3] = -((inverse[row] * m[3]) + (inverse[row + 1] * m[7]) + (inverse[row + 2] * m[11]));
        }

        return new Affine(inverse);
    }

    /// <summary>A copy of the 12 entries, row after row.</summary>
    public double[] ToRows() => (double[])rows.Clone();

    /// <summary>Whether no entry differs from the other map's by more than the tolerance.</summary>
    public bool IsCloseTo(Affine other, double tolerance)
    {
        ArgumentNullException.ThrowIfNull(other);
        for (int i = 0; i < rows.Length; i++)
        {
            if (!(Math.Abs(rows[i] - other.rows[i]) <= tolerance))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Whether all entries are equal.</summary>
    public bool Equals(Affine? other) => other is not null && rows.AsSpan().SequenceEqual(other.rows);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as Affine);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        HashCode hash = default;
        foreach (double entry in rows)
        {
            hash.Add(entry);
        }

        return hash.ToHashCode();
    }

    /// <summary>The three rows, such as <c>[1 0 0 5; 0 1 0 0; 0 0 1 0]</c>.</summary>
    public override string ToString()
    {
        string Row(int start) => string.Join(' ', rows[start..(start + 4)].Select(
            entry => entry.ToString("G6", System.Globalization.CultureInfo.InvariantCulture)));
        return $"[{Row(0)}; {Row(4)}; {Row(8)}]";
    }

    /// <summary>The length of a column of the linear part; for a voxel-to-world map, the spacing along that axis.</summary>
    internal double ColumnLength(int column) =>
        Math.Sqrt((rows[column] * rows[column]) + (rows[4 + column] * rows[4 + column]) + (rows[8 + column] * rows[8 + column]));
}
