// A cohort whose network sleeps: everything else is the program's own. See ../simulate.py.
//
//   simulation make FOLDER PAIRS              writes scans and a table of pairs
//   simulation shard FOLDER OUTPUT I/N LOG TIMES FACTOR MACHINE
//                                             does a shard; LOG gets a line for each pair
//   simulation page OUTPUT                    writes the group page
using System.Diagnostics;
using System.Globalization;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Groups;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

return args switch
{
    ["make", string folder, string pairs] => Make(folder, int.Parse(pairs, CultureInfo.InvariantCulture)),
    ["shard", string folder, string output, string shard, string log, string times, string factor, string machine] =>
        Shard(folder, output, shard, log, times, double.Parse(factor, CultureInfo.InvariantCulture), machine),
    ["page", string output] => Page(output),
    _ => 2,
};

static int Make(string folder, int pairs)
{
    Directory.CreateDirectory(folder);
    Random random = new(1);
    Grid grid = new(12, 14, 12, Affine.Identity);
    Volume Scan() => new(grid, [.. Enumerable.Range(0, (int)grid.Count).Select(i => (float)(((i / 7) % 13) + random.NextDouble()))]);
    Scan().Write(Path.Combine(folder, "template.nii.gz"));
    using StreamWriter table = new(Path.Combine(folder, "pairs.csv"));
    table.WriteLine("id,moving");
    for (int i = 0; i < pairs; i++)
    {
        string name = FormattableString.Invariant($"s{i:D5}");
        Scan().Write(Path.Combine(folder, name + ".nii.gz"));
        table.WriteLine($"{name},{name}.nii.gz");
    }

    return 0;
}

static int Shard(string folder, string output, string shard, string log, string times, double factor, string machine)
{
    // As if each shard ran on a machine of its own: nobody can ask whether its process lives. Ten times as fast as in earnest.
    ProcessIdentity.Pretend(machine);
    FileClaim.Beat = TimeSpan.FromSeconds(1);
    FileClaim.DeadAfter = TimeSpan.FromSeconds(9);
    int[] part = [.. shard.Split('/').Select(text => int.Parse(text, CultureInfo.InvariantCulture))];
    double[] seconds = [.. File.ReadLines(times).Select(line => double.Parse(line, CultureInfo.InvariantCulture))];
    CohortPlan plan = PairTable.Read(Path.Combine(folder, "pairs.csv"), new CohortScan(Path.Combine(folder, "template.nii.gz")));
    using StreamWriter lines = new(log, append: true) { AutoFlush = true };
    lines.WriteLine(); // A process that was killed may have left half a line.
    Sleeper sleeper = new(seconds, factor);
    CohortOptions options = new()
    {
        Registration = new RegistrationOptions { Prealignment = new Prealignment.ByHeader(Alignment.World) },
        Jobs = 1,
        Threads = 1,
        Shard = new CohortShard(part[0], part[1]),
    };
    CohortSummary summary = Cohort.Run(plan.Pairs, output, _ => new Registrar(sleeper), options, new Log(lines));
    lines.WriteLine(FormattableString.Invariant(
        $"end {summary.Done} {summary.Skipped} {summary.Unusable.Count} {sleeper.Slept.TotalSeconds:F3} {summary.Elapsed.TotalSeconds:F3}"));
    return 0;
}

static int Page(string output)
{
    Stopwatch clock = Stopwatch.StartNew();
    GroupOutliers group = GroupPage.Write(output);
    Console.WriteLine(FormattableString.Invariant($"{group.Pairs.Count} {clock.Elapsed.TotalSeconds:F3}"));
    return 0;
}

/// <summary>Sleeps as long as a registration takes.</summary>
internal sealed class Sleeper(double[] seconds, double factor) : IFieldPredictor
{
    private readonly Random random = new();

    public TimeSpan Slept { get; private set; }

    public Alignment Alignment => Alignment.World;

    public TrainingRange? Training => null;

    public VerdictThresholds? Thresholds => null;

    public FieldPrediction Predict(
        Volume fixedScan, Volume movingScan, Alignment? alignment, IProgress<double>? progress, CancellationToken cancellation)
    {
        Stopwatch clock = Stopwatch.StartNew();
        cancellation.WaitHandle.WaitOne(TimeSpan.FromSeconds(seconds[random.Next(seconds.Length)] * factor));
        cancellation.ThrowIfCancellationRequested();
        Slept += clock.Elapsed;
        DisplacementField none = DisplacementField.Zero(fixedScan.Grid);
        return new FieldPrediction(
            none, none, Affine.Identity, Alignment.World, Warp.Linear(movingScan, none, 1), clock.Elapsed, TimeSpan.Zero);
    }
}

/// <summary>Notes what became of each pair.</summary>
internal sealed class Log(StreamWriter lines) : IProgress<CohortProgress>
{
    public void Report(CohortProgress value) => lines.WriteLine($"{value.Last.State} {value.Last.Id}");
}
