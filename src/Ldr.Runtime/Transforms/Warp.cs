using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// Resamples moving volumes. Positions outside the moving volume take the value of its nearest border voxel; a
/// displacement component that is NaN reads the moving volume's border at index 0 of that axis.
/// </summary>
public static class Warp
{
    /// <summary>
    /// <c>moved(x) = moving(x + u(x))</c>, trilinear, on the field's grid. The moving volume may have another grid: the
    /// position x + u(x) is taken to world millimetres and from there to the moving volume's voxels.
    /// </summary>
    /// <param name="moving">The volume to sample.</param>
    /// <param name="field">The displacement, on the fixed grid.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <returns>A float32 volume on the field's grid.</returns>
    public static Volume Linear(Volume moving, DisplacementField field, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(moving);
        ArgumentNullException.ThrowIfNull(field);
        return new Volume(
            field.Grid,
            Sampling.Linear(
                moving.Values, moving.Grid, 1, field.Grid, field.Vectors, MapBetween(field.Grid, moving.Grid), threads));
    }

    /// <summary>
    /// As <see cref="Linear(Volume, DisplacementField, int)"/>, into a volume that is there already: its values are
    /// overwritten.
    /// </summary>
    /// <param name="moving">The volume to sample.</param>
    /// <param name="field">The displacement, on the fixed grid.</param>
    /// <param name="moved">A volume on the field's grid.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <exception cref="ArgumentException">The volume for the result lies on another grid than the field.</exception>
    public static void Linear(Volume moving, DisplacementField field, Volume moved, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(moving);
        ArgumentNullException.ThrowIfNull(field);
        ArgumentNullException.ThrowIfNull(moved);
        if (!moved.Grid.SameAs(field.Grid))
        {
            throw new ArgumentException($"the result's grid ({moved.Grid}) is not the field's ({field.Grid})", nameof(moved));
        }

        Sampling.Linear(
            moving.Values, moving.Grid, 1, field.Grid, field.Vectors, MapBetween(field.Grid, moving.Grid), threads, moved.Values);
    }

    /// <summary>
    /// As <see cref="Linear(Volume, DisplacementField, int)"/>, but each voxel takes the value of the nearest voxel of the moving volume (ties go to the
    /// higher index), so no value is invented: for labels. Keeps the moving volume's number type.
    /// </summary>
    public static Volume Nearest(Volume moving, DisplacementField field, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(moving);
        ArgumentNullException.ThrowIfNull(field);
        return new Volume(
            field.Grid,
            Sampling.Nearest(
                moving.Values, moving.Grid, field.Grid, field.Vectors, MapBetween(field.Grid, moving.Grid), threads),
            moving.StoredAs);
    }

    /// <summary>
    /// A volume on another grid, by an affine map: <c>result(p) = moving(T(p))</c>, p in world millimetres.
    /// </summary>
    /// <param name="moving">The volume to sample.</param>
    /// <param name="target">The grid of the result.</param>
    /// <param name="targetWorldToMovingWorld">T, from the target's world to the moving volume's world.</param>
    /// <param name="nearest">Nearest voxel instead of trilinear: for labels.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    public static Volume Resample(
        Volume moving, Grid target, Affine targetWorldToMovingWorld, bool nearest = false, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(moving);
        ArgumentNullException.ThrowIfNull(target);
        ArgumentNullException.ThrowIfNull(targetWorldToMovingWorld);
        Affine map = target.VoxelsTo(moving.Grid, targetWorldToMovingWorld);
        return nearest
            ? new Volume(target, Sampling.Nearest(moving.Values, moving.Grid, target, null, map, threads), moving.StoredAs)
            : new Volume(target, Sampling.Linear(moving.Values, moving.Grid, 1, target, null, map, threads));
    }

    /// <summary>
    /// Grids that agree to a hundred-thousandth of a voxel count as equal: headers hold their maps in single precision.
    /// </summary>
    internal static Affine MapBetween(Grid from, Grid to)
    {
        (double x, double y, double z) = from.Spacing;
        return from.SameAs(to, 1e-5 * Math.Min(x, Math.Min(y, z))) ? Affine.Identity : from.VoxelsTo(to, Affine.Identity);
    }
}
