using System.Numerics;
using System.Runtime.CompilerServices;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Transforms;

/// <summary>
/// The penalty log² J on local changes of volume: 0 where a field keeps volumes, the same for J and 1/J, and steep towards J = 0.
/// J is det(I + ∂u/∂x) by forward differences, one for each cell between neighbouring voxels, so that no pattern of single voxels
/// is overlooked. Below <see cref="Least"/> the penalty goes on along its tangent: it is finite, and pulls, where a field folds.
/// </summary>
public static unsafe class LogJacobian
{
    /// <summary>The determinant below which the penalty is a straight line.</summary>
    public const double Least = 0.05;

    private static readonly double LogLeast = Math.Log(Least);

    /// <summary>The penalty of one determinant.</summary>
    public static double Of(double determinant)
    {
        if (determinant >= Least)
        {
            double logarithm = Math.Log(determinant);
            return logarithm * logarithm;
        }

        return (LogLeast * LogLeast) + (2 * LogLeast / Least * (determinant - Least));
    }

    /// <summary>Its derivative.</summary>
    public static double Slope(double determinant) =>
        determinant >= Least ? 2 * Math.Log(determinant) / determinant : 2 * LogLeast / Least;

    /// <summary>The mean penalty of a field over the cells of its grid.</summary>
    /// <param name="field">Channels x, y, z, in voxels.</param>
    /// <param name="grid">Its grid; of its numbers only the size counts.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    public static double Mean(float* field, Grid grid, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(grid);
        Cells cells = new(grid);
        double[] sums = new double[cells.Nz];
        Slices.ForEach(cells.Nz, grid.Count, threads, z => sums[z] = cells.Sum(field, z));
        return sums.Sum() / cells.Count;
    }

    /// <summary>Adds a multiple of the gradient of <see cref="Mean"/> to another field.</summary>
    /// <param name="field">Channels x, y, z, in voxels.</param>
    /// <param name="grid">Its grid; of its numbers only the size counts.</param>
    /// <param name="factor">The multiple.</param>
    /// <param name="gradient">As many numbers as the field has.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    public static void AddGradient(float* field, Grid grid, double factor, float* gradient, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(grid);
        Cells cells = new(grid);
        double share = factor / cells.Count;

        // A voxel belongs to the cells of its own slice and of the one before: a block of slices works out the one before it
        // once more, so that no two threads write to one voxel, and every voxel adds in the same order.
        const int block = 8;
        int blocks = (grid.Nz + block - 1) / block;
        Slices.ForEach(blocks, grid.Count, threads, b =>
        {
            int first = b * block;
            int end = Math.Min(grid.Nz, first + block);
            for (int z = Math.Max(0, first - 1); z < Math.Min(end, cells.Nz); z++)
            {
                cells.AddGradient(field, z, share, gradient, z >= first, z + 1 < end || z + 1 == grid.Nz);
            }
        });
    }

    /// <summary>The cells of a grid; along an axis of one voxel there is one, whose differences are 0.</summary>
    private readonly struct Cells
    {
        private readonly int plane;
        private readonly int stepX;
        private readonly int stepY;
        private readonly int stepZ;
        private readonly int nx;
        private readonly int ny;
        private readonly int rows;
        private readonly int slice;

        internal Cells(Grid grid)
        {
            plane = (int)grid.Count;
            stepX = grid.Nx > 1 ? 1 : 0;
            stepY = grid.Ny > 1 ? grid.Nx : 0;
            stepZ = grid.Nz > 1 ? grid.Nx * grid.Ny : 0;
            nx = Math.Max(1, grid.Nx - 1);
            ny = Math.Max(1, grid.Ny - 1);
            Nz = Math.Max(1, grid.Nz - 1);
            rows = grid.Nx;
            slice = grid.Nx * grid.Ny;
        }

        internal int Nz { get; }

        internal double Count => (double)nx * ny * Nz;

        /// <summary>The penalty of a slice of cells.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal double Sum(float* field, int z)
        {
            double sum = 0;
            for (int y = 0; y < ny; y++)
            {
                int i = (z * slice) + (y * rows);
                Vector<double> sums = default;
                int x = 0;
                for (; x <= nx - Vector<float>.Count; x += Vector<float>.Count)
                {
                    VectorCell cell = new(field, i + x, this);
                    (Vector<double> low, Vector<double> high) = cell.Determinants;
                    sums += Of(low) + Of(high);
                }

                for (; x < nx; x++)
                {
                    sum += LogJacobian.Of(new Cell(field, i + x, this).Determinant);
                }

                sum += Vector.Sum(sums);
            }

            return sum;
        }

        /// <summary>A slice of cells gives to the voxels below it (its own slice), and above it, where asked.</summary>
        internal void AddGradient(float* field, int z, double share, float* gradient, bool toOwn, bool toNext)
        {
            // Of each channel: the slopes of a row of cells by the derivatives along x, y and z.
            float[] room = new float[9 * nx];
            fixed (float* slopes = room)
            {
                for (int y = 0; y < ny; y++)
                {
                    int i = (z * slice) + (y * rows);
                    Slopes(field, i, share, slopes);
                    for (int channel = 0; channel < 3; channel++)
                    {
                        AddRow(slopes + (3 * channel * nx), gradient + (channel * plane) + i, toOwn, toNext);
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Slopes(float* field, int i, double share, float* to)
        {
            int x = 0;
            for (; x <= nx - Vector<float>.Count; x += Vector<float>.Count)
            {
                VectorCell cell = new(field, i + x, this);
                (Vector<double> low, Vector<double> high) = cell.Determinants;
                Vector<float> slope = Vector.Narrow(share * Slope(low), share * Slope(high));
                cell.StoreCofactors(slope, to + x, nx);
            }

            for (; x < nx; x++)
            {
                Cell cell = new(field, i + x, this);
                double slope = share * LogJacobian.Slope(cell.Determinant);
                for (int channel = 0; channel < 3; channel++)
                {
                    (double alongX, double alongY, double alongZ) = cell.Cofactors(channel);
                    float* own = to + (3 * channel * nx) + x;
                    own[0] = (float)(slope * alongX);
                    own[nx] = (float)(slope * alongY);
                    own[2 * nx] = (float)(slope * alongZ);
                }
            }
        }

        /// <summary>What a row of cells gives to the voxels at its corners.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void AddRow(float* slopes, float* to, bool toOwn, bool toNext)
        {
            float* alongY = slopes + nx;
            float* alongZ = alongY + nx;
            if (toOwn)
            {
                for (int x = 0; x < nx; x++)
                {
                    to[x] -= slopes[x] + alongY[x] + alongZ[x];
                }

                Add(slopes, to + stepX);
                Add(alongY, to + stepY);
            }

            if (toNext)
            {
                Add(alongZ, to + stepZ);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Add(float* from, float* to)
        {
            int x = 0;
            for (; x <= nx - Vector<float>.Count; x += Vector<float>.Count)
            {
                Vector.Store(Vector.Load(to + x) + Vector.Load(from + x), to + x);
            }

            for (; x < nx; x++)
            {
                to[x] += from[x];
            }
        }

        /// <summary>The penalties of determinants.</summary>
        private static Vector<double> Of(Vector<double> determinants)
        {
            Vector<double> least = new(Least);
            Vector<double> logarithms = Vector.Log(Vector.Max(determinants, least));
            Vector<double> below = Vector.Min(determinants - least, Vector<double>.Zero);
            return (logarithms * logarithms) + (2 * LogLeast / Least * below);
        }

        /// <summary>Their derivatives.</summary>
        private static Vector<double> Slope(Vector<double> determinants)
        {
            Vector<double> clamped = Vector.Max(determinants, new Vector<double>(Least));
            return 2.0 * Vector.Log(clamped) / clamped;
        }

        /// <summary>The nine derivatives of as many cells side by side as a vector holds.</summary>
        private readonly struct VectorCell
        {
            private readonly Vector<float> xx;
            private readonly Vector<float> xy;
            private readonly Vector<float> xz;
            private readonly Vector<float> yx;
            private readonly Vector<float> yy;
            private readonly Vector<float> yz;
            private readonly Vector<float> zx;
            private readonly Vector<float> zy;
            private readonly Vector<float> zz;

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            internal VectorCell(float* field, int i, in Cells cells)
            {
                float* u = field + i;
                float* v = u + cells.plane;
                float* w = v + cells.plane;
                Vector<float> own = Vector.Load(u);
                xx = Vector<float>.One + (Vector.Load(u + cells.stepX) - own);
                xy = Vector.Load(u + cells.stepY) - own;
                xz = Vector.Load(u + cells.stepZ) - own;
                own = Vector.Load(v);
                yx = Vector.Load(v + cells.stepX) - own;
                yy = Vector<float>.One + (Vector.Load(v + cells.stepY) - own);
                yz = Vector.Load(v + cells.stepZ) - own;
                own = Vector.Load(w);
                zx = Vector.Load(w + cells.stepX) - own;
                zy = Vector.Load(w + cells.stepY) - own;
                zz = Vector<float>.One + (Vector.Load(w + cells.stepZ) - own);
            }

            /// <summary>Those of the first half of the cells, and of the second.</summary>
            internal (Vector<double> Low, Vector<double> High) Determinants
            {
                [MethodImpl(MethodImplOptions.AggressiveInlining)]
                get
                {
                    Vector<float> first = (yy * zz) - (yz * zy);
                    Vector<float> second = (yx * zz) - (yz * zx);
                    Vector<float> third = (yx * zy) - (yy * zx);
                    Vector.Widen((xx * first) - (xy * second) + (xz * third), out Vector<double> low, out Vector<double> high);
                    return (low, high);
                }
            }

            /// <summary>A multiple of the derivatives of the determinants by each channel's along x, y and z; a run of numbers each.</summary>
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            internal void StoreCofactors(Vector<float> multiple, float* to, int run)
            {
                Vector.Store(multiple * ((yy * zz) - (yz * zy)), to);
                Vector.Store(multiple * ((yz * zx) - (yx * zz)), to + run);
                Vector.Store(multiple * ((yx * zy) - (yy * zx)), to + (2 * run));
                Vector.Store(multiple * ((xz * zy) - (xy * zz)), to + (3 * run));
                Vector.Store(multiple * ((xx * zz) - (xz * zx)), to + (4 * run));
                Vector.Store(multiple * ((xy * zx) - (xx * zy)), to + (5 * run));
                Vector.Store(multiple * ((xy * yz) - (xz * yy)), to + (6 * run));
                Vector.Store(multiple * ((xz * yx) - (xx * yz)), to + (7 * run));
                Vector.Store(multiple * ((xx * yy) - (xy * yx)), to + (8 * run));
            }
        }

        /// <summary>The nine derivatives of a cell.</summary>
        private readonly struct Cell
        {
            private readonly double xx;
            private readonly double xy;
            private readonly double xz;
            private readonly double yx;
            private readonly double yy;
            private readonly double yz;
            private readonly double zx;
            private readonly double zy;
            private readonly double zz;

            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            internal Cell(float* field, int i, in Cells cells)
            {
                float* u = field + i;
                float* v = u + cells.plane;
                float* w = v + cells.plane;
                xx = 1 + ((double)u[cells.stepX] - u[0]);
                xy = (double)u[cells.stepY] - u[0];
                xz = (double)u[cells.stepZ] - u[0];
                yx = (double)v[cells.stepX] - v[0];
                yy = 1 + ((double)v[cells.stepY] - v[0]);
                yz = (double)v[cells.stepZ] - v[0];
                zx = (double)w[cells.stepX] - w[0];
                zy = (double)w[cells.stepY] - w[0];
                zz = 1 + ((double)w[cells.stepZ] - w[0]);
            }

            internal double Determinant => (xx * ((yy * zz) - (yz * zy))) - (xy * ((yx * zz) - (yz * zx))) + (xz * ((yx * zy) - (yy * zx)));

            /// <summary>The derivatives of the determinant by a channel's derivatives along x, y and z.</summary>
            internal (double X, double Y, double Z) Cofactors(int channel) => channel switch
            {
                0 => ((yy * zz) - (yz * zy), (yz * zx) - (yx * zz), (yx * zy) - (yy * zx)),
                1 => ((xz * zy) - (xy * zz), (xx * zz) - (xz * zx), (xy * zx) - (xx * zy)),
                _ => ((xy * yz) - (xz * yy), (xz * yx) - (xx * yz), (xx * yy) - (xy * yx)),
            };
        }
    }
}
