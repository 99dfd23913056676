using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// For every voxel of a grid the probabilities of its labels. Only those above 0 are kept, so that a few hundred labels take little
/// more memory than a few.
/// </summary>
public sealed class LabelProbabilities
{
    // What belongs to voxel i stands from starts[i] to starts[i + 1], in the order in which it was voted for.
    private readonly int[] starts;
    private readonly ushort[] places;
    private readonly float[] shares;
    private readonly int[] labels;

    private LabelProbabilities(Grid grid, int[] labels, int[] starts, ushort[] places, float[] shares)
    {
        Grid = grid;
        this.labels = labels;
        this.starts = starts;
        this.places = places;
        this.shares = shares;
    }

    /// <summary>Where the voxels are.</summary>
    public Grid Grid { get; }

    /// <summary>Every label that some atlas has, 0 included where one has it, ascending.</summary>
    public IReadOnlyList<int> Labels => labels;

    /// <summary>The most probable label of every voxel; of equal ones that of the atlas that stands first.</summary>
    public Volume Best()
    {
        float[] best = new float[Grid.Count];
        for (int i = 0; i < best.Length; i++)
        {
            best[i] = labels[places[BestAt(i)]];
        }

        return new Volume(Grid, best, TypeFor(labels));
    }

    /// <summary>The probability of the most probable label of every voxel, 0 to 1.</summary>
    public Volume BestProbability()
    {
        float[] best = new float[Grid.Count];
        for (int i = 0; i < best.Length; i++)
        {
            best[i] = shares[BestAt(i)];
        }

        return new Volume(Grid, best);
    }

    /// <summary>The probability of one label at every voxel, 0 to 1; 0 everywhere for a label that no atlas has.</summary>
    public Volume Of(int label)
    {
        float[] result = new float[Grid.Count];
        int place = Array.BinarySearch(labels, label);
        for (int i = 0; place >= 0 && i < result.Length; i++)
        {
            for (int k = starts[i]; k < starts[i + 1]; k++)
            {
                if (places[k] == place)
                {
                    result[i] = shares[k];
                }
            }
        }

        return new Volume(Grid, result);
    }

    /// <summary>
    /// The probability of one label at a voxel.
    /// </summary>
    internal float At(int voxel, int label)
    {
        int place = Array.BinarySearch(labels, label);
        for (int k = starts[voxel]; k < starts[voxel + 1]; k++)
        {
            if (places[k] == place)
            {
                return shares[k];
            }
        }

        return 0;
    }

    /// <summary>The size of every label, in the order of <see cref="Labels"/> but without 0.</summary>
    public IReadOnlyList<StructureVolume> Volumes()
    {
        long[] voxels = new long[labels.Length];
        double[] expected = new double[labels.Length];
        double[] certain = new double[labels.Length];
        for (int i = 0; i + 1 < starts.Length; i++)
        {
            int best = BestAt(i);
            voxels[places[best]]++;
            certain[places[best]] += shares[best];
            for (int k = starts[i]; k < starts[i + 1]; k++)
            {
                expected[places[k]] += shares[k];
            }
        }

        double voxel = Math.Abs(Grid.VoxelToWorld.Determinant);
        return
        [
            .. labels.Select((label, i) => new StructureVolume(
                label, voxels[i], voxels[i] * voxel, expected[i] * voxel, voxels[i] == 0 ? double.NaN : certain[i] / voxels[i]))
                .Where(structure => structure.Label != 0),
        ];
    }

    /// <summary>The smallest number type that holds the labels.</summary>
    internal static VoxelType TypeFor(int[] labels) => (labels.Min(), labels.Max()) switch
    {
        ( >= 0, <= byte.MaxValue) => VoxelType.UInt8,
        ( >= short.MinValue, <= short.MaxValue) => VoxelType.Int16,
        _ => VoxelType.Int32,
    };

    /// <summary>Collects the votes of every voxel, slice by slice.</summary>
    /// <param name="grid">Where the voxels are.</param>
    /// <param name="labels">The labels, ascending.</param>
    /// <param name="threads">How many threads at most; 0 for all. The result does not depend on it.</param>
    /// <param name="vote">Is called for every voxel with its index and an empty ballot.</param>
    internal static LabelProbabilities Collect(Grid grid, int[] labels, int threads, Action<int, Ballot> vote)
    {
        int slice = grid.Nx * grid.Ny;
        Ballot[] slices = new Ballot[grid.Nz];
        Slices.ForEach(grid, threads, z =>
        {
            Ballot ballot = new(labels.Length);
            for (int i = z * slice; i < (z + 1) * slice; i++)
            {
                vote(i, ballot);
                ballot.Close();
            }

            slices[z] = ballot;
        });
        int[] starts = new int[grid.Count + 1];
        ushort[] places = new ushort[slices.Sum(ballot => ballot.Places.Count)];
        float[] shares = new float[places.Length];
        for (int z = 0, at = 0, voxel = 0; z < grid.Nz; z++)
        {
            Ballot ballot = slices[z];
            ballot.Places.CopyTo(places, at);
            ballot.Shares.CopyTo(shares, at);
            foreach (int end in ballot.Ends)
            {
                starts[++voxel] = at + end;
            }

            at += ballot.Places.Count;
        }

        return new LabelProbabilities(grid, labels, starts, places, shares);
    }

    private int BestAt(int voxel)
    {
        int best = starts[voxel];
        for (int k = best + 1; k < starts[voxel + 1]; k++)
        {
            if (shares[k] > shares[best])
            {
                best = k;
            }
        }

        return best;
    }

    /// <summary>The votes of one voxel after the other.</summary>
    internal sealed class Ballot(int labels)
    {
        private readonly double[] sums = new double[labels];
        private readonly bool[] seen = new bool[labels];
        private readonly List<int> candidates = [];

        internal List<ushort> Places { get; } = [];

        internal List<float> Shares { get; } = [];

        internal List<int> Ends { get; } = [];

        /// <summary>Adds a weight, which may be below 0, to a label's place.</summary>
        internal void Add(int place, double weight)
        {
            if (!seen[place])
            {
                seen[place] = true;
                candidates.Add(place);
            }

            sums[place] += weight;
        }

        /// <summary>Turns the sums of the voxel into shares of 1: what is below 0 counts as 0.</summary>
        internal void Close()
        {
            double total = 0;
            foreach (int place in candidates)
            {
                total += Math.Max(0, sums[place]);
            }

            foreach (int place in candidates)
            {
                if (sums[place] > 0)
                {
                    Places.Add((ushort)place);
                    Shares.Add((float)(sums[place] / total));
                }

                sums[place] = 0;
                seen[place] = false;
            }

            candidates.Clear();
            Ends.Add(Places.Count);
        }
    }
}

/// <summary>The size of a structure.</summary>
/// <param name="Label">Its number.</param>
/// <param name="Voxels">Voxels whose most probable label it is.</param>
/// <param name="Mm3">Their volume, mm³.</param>
/// <param name="ExpectedMm3">The sum of its probabilities over all voxels, as a volume, mm³.</param>
/// <param name="MeanProbability">Its mean probability at its own voxels; NaN where it has none.</param>
public sealed record StructureVolume(int Label, long Voxels, double Mm3, double ExpectedMm3, double MeanProbability);
