using System.Globalization;

namespace Ldr.Runtime.Groups;

/// <summary>What is usual in a group, of one measure.</summary>
/// <param name="Measure">The measure.</param>
/// <param name="Median">The median.</param>
/// <param name="Deviation">The robust standard deviation, 1.4826 times the median of the distances from the median.</param>
public sealed record GroupUsual(GroupMeasure Measure, double Median, double Deviation);

/// <summary>A pair of a group beside the others.</summary>
/// <param name="Row">The pair.</param>
/// <param name="Score">
/// The largest of its robust z-scores that speak against it, at least 0; a <c>failed</c> verdict adds
/// <see cref="GroupOutliers.FailedScore"/>. NaN where the pair could not be registered.
/// </param>
/// <param name="Reason">The measures that stand out most, in words; empty where none does.</param>
/// <param name="Deviations">By key: how many robust deviations it is off, to the suspicious side.</param>
public sealed record GroupPair(GroupRow Row, double Score, string Reason, IReadOnlyDictionary<string, double> Deviations);

/// <summary>Finds the pairs of a group that are unlike the others.</summary>
/// <param name="Pairs">All pairs: first those that could not be registered, then by falling scores.</param>
/// <param name="Usual">What is usual, of each measure that was taken.</param>
public sealed record GroupOutliers(IReadOnlyList<GroupPair> Pairs, IReadOnlyList<GroupUsual> Usual)
{
    /// <summary>What a failed verdict adds to a score.</summary>
    public const double FailedScore = 10;

    /// <summary>From so many robust deviations on a measure stands out.</summary>
    public const double Notable = 3.5;

    /// <summary>With fewer pairs nothing is usual.</summary>
    private const int Fewest = 5;

    /// <summary>Of a measure that cannot be taken of a pair, though it can of nearly all others.</summary>
    private const double Missing = 10;

    /// <summary>Compares the pairs.</summary>
    /// <param name="rows">All pairs.</param>
    public static GroupOutliers Find(IReadOnlyList<GroupRow> rows)
    {
        ArgumentNullException.ThrowIfNull(rows);
        double[] sides = GroupSides.Of(rows);
        GroupRow[] all = [.. rows.Select((row, i) => double.IsNaN(sides[i]) ? row : row with { Numbers = With(row.Numbers, GroupSides.Key, sides[i]) })];
        GroupRow[] registered = [.. all.Where(row => row.Verdict != GroupRow.Unusable)];
        List<(GroupUsual Usual, bool Always)> usual = [];
        foreach (GroupMeasure measure in GroupMeasure.All)
        {
            double[] values = [.. registered.Where(row => row.Numbers.ContainsKey(measure.Key)).Select(row => row.Numbers[measure.Key])];
            if (values.Length > 0)
            {
                double median = Median(values);
                double deviation = 1.4826 * Median([.. values.Select(value => Math.Abs(value - median))]);
                usual.Add((new GroupUsual(measure, median, deviation), values.Length >= 0.8 * registered.Length));
            }
        }

        IEnumerable<GroupPair> pairs = all.Select(row => Judge(row, usual, registered.Length >= Fewest));
        return new GroupOutliers(
            [
                .. pairs.OrderBy(pair => !double.IsNaN(pair.Score)).ThenByDescending(pair => pair.Score)
                    .ThenBy(pair => pair.Row.Id, StringComparer.Ordinal),
            ],
            [.. usual.Select(u => u.Usual)]);
    }

    private static Dictionary<string, double> With(IReadOnlyDictionary<string, double> numbers, string key, double value) =>
        new(numbers, StringComparer.Ordinal) { [key] = value };

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        int half = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }

    private static GroupPair Judge(GroupRow row, List<(GroupUsual Usual, bool Always)> usual, bool enough)
    {
        if (row.Verdict == GroupRow.Unusable)
        {
            return new GroupPair(row, double.NaN, string.Join("; ", row.Reasons), new Dictionary<string, double>());
        }

        Dictionary<string, double> deviations = new(StringComparer.Ordinal);
        List<(double Deviations, string Words)> notable = [];
        foreach ((GroupUsual of, bool always) in enough ? usual : [])
        {
            bool there = row.Numbers.TryGetValue(of.Measure.Key, out double value);
            if (!there && !always)
            {
                continue;
            }

            double off = there ? (value - of.Median) / Math.Max(of.Deviation, of.Measure.Least) : Missing;
            double against = !there ? Missing : of.Measure.Suspicious switch { Suspicious.Low => -off, Suspicious.High => off, _ => Math.Abs(off) };
            deviations[of.Measure.Key] = against;
            if (against >= Notable)
            {
                notable.Add((against, there ? Words(of, value, off) : $"{of.Measure.Name} could not be measured"));
            }
        }

        double score = Math.Max(0, deviations.Values.DefaultIfEmpty(0).Max()) + (row.Verdict == "failed" ? FailedScore : 0);
        string reason = string.Join("; ", notable.OrderByDescending(item => item.Deviations).Take(3).Select(item => item.Words));
        return new GroupPair(row, score, reason, deviations);
    }

    private static string Words(GroupUsual of, double value, double off)
    {
        string side = off < 0 ? "below" : "above";
        string count = Math.Abs(off).ToString(Math.Abs(off) < 10 ? "0.0" : "0", CultureInfo.InvariantCulture);
        return $"{of.Measure.Name} {of.Measure.Text(value)}, usually {of.Measure.Text(of.Median)}: {count} deviations {side}";
    }
}
