using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Metrics;

/// <summary>Overlap of label maps. A voxel whose value is not a whole number belongs to no label.</summary>
public static class Overlap
{
    /// <summary>Counts, Dice and Jaccard of each label, in the order asked for, in one pass over the voxels.</summary>
    /// <exception cref="ArgumentException">The maps differ in size, or a label is asked for twice.</exception>
    public static IReadOnlyList<OverlapMeasure> Measure(Volume a, Volume b, IReadOnlyList<int> labels)
    {
        ArgumentNullException.ThrowIfNull(a);
        ArgumentNullException.ThrowIfNull(b);
        ArgumentNullException.ThrowIfNull(labels);
        SameSize.Check(a.Grid, b.Grid);
        Dictionary<float, int> places = [];
        for (int i = 0; i < labels.Count; i++)
        {
            if (!places.TryAdd(labels[i], i))
            {
                throw new ArgumentException($"label {labels[i]} is asked for twice", nameof(labels));
            }
        }

        long[] inA = new long[labels.Count];
        long[] inB = new long[labels.Count];
        long[] inBoth = new long[labels.Count];
        Finder findA = new(places);
        Finder findB = new(places);
        float[] valuesA = a.Values;
        float[] valuesB = b.Values;
        for (int i = 0; i < valuesA.Length; i++)
        {
            int placeA = findA.Place(valuesA[i]);
            int placeB = findB.Place(valuesB[i]);
            if (placeA >= 0)
            {
                inA[placeA]++;
                if (placeA == placeB)
                {
                    inBoth[placeA]++;
                }
            }

            if (placeB >= 0)
            {
                inB[placeB]++;
            }
        }

        return [.. labels.Select((label, i) => new OverlapMeasure(label, inA[i], inB[i], inBoth[i]))];
    }

    /// <summary>The labels of a map: its distinct whole numbers but 0, ascending.</summary>
    public static IReadOnlyList<int> Labels(Volume volume)
    {
        ArgumentNullException.ThrowIfNull(volume);
        SortedSet<int> labels = [];
        float last = 0;
        foreach (float value in volume.Values)
        {
            if (value != last && value != 0 && value == MathF.Truncate(value) && Math.Abs(value) < 1L << 31)
            {
                labels.Add((int)value);
                last = value;
            }
        }

        return [.. labels];
    }

    /// <summary>Looks values up, remembering the last one: neighbours in a label map are mostly alike.</summary>
    private struct Finder(Dictionary<float, int> places)
    {
        private float last = float.NaN;
        private int place = -1;

        internal int Place(float value)
        {
            if (value != last)
            {
                last = value;
                place = places.TryGetValue(value, out int found) ? found : -1;
            }

            return place;
        }
    }
}
