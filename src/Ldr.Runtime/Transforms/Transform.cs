using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// A map of the fixed image's world to the moving image's world, millimetres, RAS+ ("pull"):
/// <c>moved(p) = moving(T(p))</c>. A closed choice: <see cref="Linear"/>, <see cref="Dense"/>, <see cref="Inverted"/>,
/// <see cref="Sequence"/>. Immutable.
/// </summary>
public abstract class Transform
{
    private Transform()
    {
    }

    /// <summary>The transform that moves nothing.</summary>
    public static Transform Identity { get; } = new Linear(Affine.Identity);

    /// <summary>
    /// Several transforms as one. An image goes through the first one named first, a point through the last one first. Neighbouring
    /// affine maps become one; the result of one transform is that transform.
    /// </summary>
    public static Transform Compose(params Transform[] transforms) => Compose((IEnumerable<Transform>)transforms);

    /// <inheritdoc cref="Compose(Transform[])"/>
    public static Transform Compose(IEnumerable<Transform> transforms)
    {
        ArgumentNullException.ThrowIfNull(transforms);
        List<Transform> parts = [];
        foreach (Transform part in transforms.SelectMany(transform => transform is Sequence inner ? inner.Parts : [transform]))
        {
            if (part is Linear next && parts is [.., Linear last])
            {
                // Points meet the later part first.
                parts[^1] = new Linear(next.World.Then(last.World));
            }
            else
            {
                parts.Add(part);
            }
        }

        parts.RemoveAll(part => part is Linear linear && linear.World.Equals(Affine.Identity));
        return parts switch
        {
            [] => Identity,
            [Transform one] => one,
            _ => new Sequence([.. parts]),
        };
    }

    /// <summary>The transform that undoes this one. Of a displacement field, by iteration at each point that is asked for.</summary>
    /// <exception cref="InvalidOperationException">An affine part is singular.</exception>
    public abstract Transform Inverse();

    /// <summary>Takes a point of the fixed world to its counterpart in the moving world (mm, RAS+).</summary>
    public (double X, double Y, double Z) MapPoint(double x, double y, double z)
    {
        Map(new Span<double>(ref x), new Span<double>(ref y), new Span<double>(ref z));
        return (x, y, z);
    }

    /// <summary>
    /// The displacement field of this transform on a grid of the fixed world. A single field on the same grid is given back as
    /// it is.
    /// </summary>
    /// <param name="grid">Where the field is wanted.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    public DisplacementField ToField(Grid grid, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(grid);
        if (this is Dense dense && dense.Field.Grid.Equals(grid))
        {
            return dense.Field;
        }

        float[] vectors = GC.AllocateUninitializedArray<float>(checked((int)(3 * grid.Count)));
        MapRows(grid, grid, threads, (y, z, px, py, pz) =>
        {
            int plane = (int)grid.Count;
            int row = grid.Nx * (y + (grid.Ny * z));
            for (int x = 0; x < px.Length; x++)
            {
                vectors[row + x] = (float)(px[x] - x);
                vectors[plane + row + x] = (float)(py[x] - y);
                vectors[(2 * plane) + row + x] = (float)(pz[x] - z);
            }
        });
        return new DisplacementField(grid, vectors);
    }

    /// <summary>Takes points of the fixed world (mm) to the moving world, in place.</summary>
    internal abstract void Map(Span<double> x, Span<double> y, Span<double> z);

    /// <summary>
    /// For each row of a grid of the fixed world: where its voxels go, in voxels of a grid of the moving world. Rows of a slice
    /// come one after the other, slices in parallel.
    /// </summary>
    internal void MapRows(Grid from, Grid into, int threads, RowAction action)
    {
        // Where no field is in between, one map does: no rounding by way of millimetres.
        Affine? direct = this is Linear linear ? from.VoxelsTo(into, linear.World) : null;
        if (direct is not null && direct.IsCloseTo(Affine.Identity, 1e-9))
        {
            direct = Affine.Identity;
        }

        Slices.ForEach(from, threads, z =>
        {
            double[] buffer = new double[3 * from.Nx];
            Span<double> px = buffer.AsSpan(0, from.Nx);
            Span<double> py = buffer.AsSpan(from.Nx, from.Nx);
            Span<double> pz = buffer.AsSpan(2 * from.Nx, from.Nx);
            for (int y = 0; y < from.Ny; y++)
            {
                Affine start = direct ?? from.VoxelToWorld;
                for (int x = 0; x < from.Nx; x++)
                {
                    (px[x], py[x], pz[x]) = start.Apply(x, y, z);
                }

                if (direct is null)
                {
                    Map(px, py, pz);
                    Move(into.WorldToVoxel, px, py, pz);
                }

                action(y, z, px, py, pz);
            }
        });
    }

    private static void Move(Affine map, Span<double> x, Span<double> y, Span<double> z)
    {
        for (int i = 0; i < x.Length; i++)
        {
            (x[i], y[i], z[i]) = map.Apply(x[i], y[i], z[i]);
        }
    }

    /// <summary>What is done with the mapped positions of one row.</summary>
    internal delegate void RowAction(int y, int z, Span<double> px, Span<double> py, Span<double> pz);

    /// <summary>An affine map.</summary>
    public sealed class Linear : Transform
    {
        /// <summary>Makes the transform.</summary>
        /// <param name="world">From the fixed world to the moving world, mm, RAS+.</param>
        /// <exception cref="ArgumentException">The map is not finite.</exception>
        public Linear(Affine world)
        {
            ArgumentNullException.ThrowIfNull(world);
            World = world.IsFinite ? world : throw new ArgumentException($"the map {world} is not finite", nameof(world));
        }

        /// <summary>From the fixed world to the moving world, mm, RAS+.</summary>
        public Affine World { get; }

        /// <inheritdoc/>
        public override Transform Inverse() => new Linear(World.Inverse());

        internal override void Map(Span<double> x, Span<double> y, Span<double> z) => Move(World, x, y, z);
    }

    /// <summary>A displacement field; beyond its grid the displacement is that of the nearest border voxel.</summary>
    public sealed class Dense : Transform
    {
        /// <summary>Makes the transform.</summary>
        public Dense(DisplacementField field)
        {
            ArgumentNullException.ThrowIfNull(field);
            Field = field;
        }

        /// <summary>The field.</summary>
        public DisplacementField Field { get; }

        /// <inheritdoc/>
        public override Transform Inverse() => new Inverted(Field);

        internal override void Map(Span<double> x, Span<double> y, Span<double> z)
        {
            Grid grid = Field.Grid;
            const int chunk = 128;
            Span<float> position = stackalloc float[3 * chunk];
            Span<float> displacement = stackalloc float[3 * chunk];
            for (int start = 0; start < x.Length; start += chunk)
            {
                int count = Math.Min(chunk, x.Length - start);
                for (int i = 0; i < count; i++)
                {
                    (double vx, double vy, double vz) = grid.WorldToVoxel.Apply(x[start + i], y[start + i], z[start + i]);
                    position[i] = (float)vx;
                    position[chunk + i] = (float)vy;
                    position[(2 * chunk) + i] = (float)vz;
                }

                Sampling.LinearAt(Field.Vectors, grid, position, displacement, chunk, count);
                for (int i = 0; i < count; i++)
                {
                    (double dx, double dy, double dz) = grid.VoxelToWorld.ApplyLinear(
                        displacement[i], displacement[chunk + i], displacement[(2 * chunk) + i]);
                    x[start + i] += dx;
                    y[start + i] += dy;
                    z[start + i] += dz;
                }
            }
        }
    }

    /// <summary>
    /// The inverse of a displacement field: for a point y the x with x + u(x) = y, by the fixed-point iteration
    /// <c>x ← x + s·A⁻¹(y − T(x))</c> from <c>A⁻¹y</c>, where A is the affine map nearest to the field and s starts at 1 and is halved when a
    /// step does not help. Ends at a hundred-thousandth of a voxel, or after <see cref="Iterations"/> steps with the best x:
    /// where the field folds there is no inverse (see <see cref="InverseConsistency"/>).
    /// </summary>
    public sealed class Inverted : Transform
    {
        /// <summary>The most steps that are taken for a point.</summary>
        public const int Iterations = 60;

        /// <summary>Voxels by which a point may be missed.</summary>
        private const double Tolerance = 1e-5;

        private readonly Dense forward;
        private readonly Lazy<Affine> start;

        /// <summary>Makes the inverse of a field.</summary>
        public Inverted(DisplacementField field)
        {
            forward = new Dense(field);
            start = new Lazy<Affine>(() => Invertible(AffineFit.Of(field)).Inverse());
        }

        /// <summary>The field that is inverted.</summary>
        public DisplacementField Field => forward.Field;

        /// <inheritdoc/>
        public override Transform Inverse() => forward;

        internal override void Map(Span<double> x, Span<double> y, Span<double> z)
        {
            // All in voxels of the field's grid, where its vectors are at home.
            Grid grid = forward.Field.Grid;
            float[] vectors = forward.Field.Vectors;
            Affine back = grid.VoxelToWorld.Then(start.Value).Then(grid.WorldToVoxel);
            int n = x.Length;
            double[] work = new double[8 * n];
            Span<double> Part(int index) => work.AsSpan(index * n, n);
            Span<double> bx = Part(0), by = Part(1), bz = Part(2);
            Span<double> error = Part(3), sx = Part(4), sy = Part(5), sz = Part(6), scale = Part(7);
            float[] sampled = new float[6 * n];
            Span<float> position = sampled.AsSpan(0, 3 * n), displacement = sampled.AsSpan(3 * n);

            // The points that are not done yet: each ends by itself, whatever its neighbours need.
            int[] open = new int[n];
            for (int i = 0; i < n; i++)
            {
                (x[i], y[i], z[i]) = grid.WorldToVoxel.Apply(x[i], y[i], z[i]);
                (bx[i], by[i], bz[i]) = back.Apply(x[i], y[i], z[i]);
                error[i] = double.PositiveInfinity;
                scale[i] = 1;
                open[i] = i;
            }

            for (int iteration = 0, count = n; iteration <= Iterations && count > 0; iteration++)
            {
                // The candidate is the best point so far and its step.
                for (int k = 0; k < count; k++)
                {
                    int i = open[k];
                    position[k] = (float)(bx[i] + (scale[i] * sx[i]));
                    position[n + k] = (float)(by[i] + (scale[i] * sy[i]));
                    position[(2 * n) + k] = (float)(bz[i] + (scale[i] * sz[i]));
                }

                Sampling.LinearAt(vectors, grid, position, displacement, n, count);
                int left = 0;
                for (int k = 0; k < count; k++)
                {
                    int i = open[k];
                    double tx = bx[i] + (scale[i] * sx[i]);
                    double ty = by[i] + (scale[i] * sy[i]);
                    double tz = bz[i] + (scale[i] * sz[i]);
                    double rx = x[i] - tx - displacement[k];
                    double ry = y[i] - ty - displacement[n + k];
                    double rz = z[i] - tz - displacement[(2 * n) + k];
                    double length = Math.Sqrt((rx * rx) + (ry * ry) + (rz * rz));
                    if (length < error[i])
                    {
                        (bx[i], by[i], bz[i], error[i]) = (tx, ty, tz, length);
                        (sx[i], sy[i], sz[i]) = back.ApplyLinear(rx, ry, rz);
                        scale[i] = Math.Min(1, 2 * scale[i]);
                    }
                    else
                    {
                        scale[i] *= 0.5;
                    }

                    if (error[i] > Tolerance && scale[i] >= 1e-6)
                    {
                        open[left++] = i;
                    }
                }

                count = left;
            }

            for (int i = 0; i < n; i++)
            {
                (x[i], y[i], z[i]) = grid.VoxelToWorld.Apply(bx[i], by[i], bz[i]);
            }
        }

        private static Affine Invertible(Affine fit) => fit.IsFinite && !fit.IsSingular ? fit : Affine.Identity;
    }

    /// <summary>Transforms one after the other: an image goes through the first part first, a point through the last.</summary>
    public sealed class Sequence : Transform
    {
        private readonly Transform[] parts;

        internal Sequence(Transform[] parts) => this.parts = parts;

        /// <summary>The parts, none of them a sequence; neighbours are not both affine.</summary>
        public IReadOnlyList<Transform> Parts => parts;

        /// <inheritdoc/>
        public override Transform Inverse() => Compose(parts.Reverse().Select(part => part.Inverse()));

        internal override void Map(Span<double> x, Span<double> y, Span<double> z)
        {
            for (int i = parts.Length - 1; i >= 0; i--)
            {
                parts[i].Map(x, y, z);
            }
        }
    }
}
