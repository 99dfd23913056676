using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Reports;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>One pair of a cohort: reads, registers, writes. What it reads is refused by an <see cref="InvalidFileException"/>.</summary>
internal sealed class CohortJob(CohortPair pair, string folder, CohortOptions options, ScanCache cache, int threads)
    : IGroupJob
{
    /// <summary>Bytes a registration takes for each voxel of the fixed and of the moving scan, and at least; measured.</summary>
    private const long FixedBytes = 120, MovingBytes = 60, LeastBytes = 64 << 20;

    private IReadOnlyList<PairInput> inputs = [];

    /// <summary>Bytes, about, that a pair will take, by the headers of its scans; what cannot be read takes none.</summary>
    internal static long BytesOf(CohortPair pair)
    {
        static long Voxels(string file)
        {
            try
            {
                return ImageFile.ReadGrid(file).Count;
            }
            catch (InvalidFileException)
            {
                return 0;
            }
        }

        return LeastBytes + (FixedBytes * Voxels(pair.Fixed.Image)) + (MovingBytes * Voxels(pair.Moving.Image));
    }

    public string Id => pair.Id;

    public long Bytes => BytesOf(pair);

    public string ResultFile => In(pair.Files.Result);

    public string? VerdictOfDone() =>
        PairResult.VerdictOf(ResultFile, pair.Inputs(), Settings) ?? PairResult.VerdictOf(ResultFile, ReadInputs(), Settings);

    public Registration.Quality.Verdict Run(Registrar registrar, Action confirm, CancellationToken cancellation)
    {
        ReadInputs();

        // From here on the pair is not done.
        File.Delete(ResultFile);
        Volume fixedScan = Scan(pair.Fixed.Image);
        Volume moving = Scan(pair.Moving.Image);
        Budget.CheckField(pair.Fixed.Image, fixedScan.Grid);
        Volume? fixedLabels = OnGrid(pair.Fixed.Labels, fixedScan, "fixed", "label map");
        Volume? movingLabels = OnGrid(pair.Moving.Labels, moving, "moving", "label map");
        RegistrationOptions own = options.Registration with
        {
            FixedMask = Mask(pair.Fixed.Mask, fixedScan, "fixed"),
            MovingMask = Mask(pair.Moving.Mask, moving, "moving"),
            Threads = threads,
        };
        RegistrationResult result = registrar.Register(fixedScan, moving, own, null, cancellation);
        confirm();
        Dictionary<string, string> written = new(StringComparer.Ordinal);
        InverseConsistency? inverse = WriteAll(result, movingLabels, fixedLabels, written, cancellation);
        PairFindings found = new(pair, result)
        {
            Inputs = inputs,
            Settings = Settings,
            Written = written,
            Labels = fixedLabels is null || movingLabels is null ? [] : result.CompareLabels(fixedLabels, movingLabels),
            Landmarks = Distances(result),
            Inverse = inverse,
        };
        cancellation.ThrowIfCancellationRequested();
        RemoveOld(written.Values);
        PairResult.Write(ResultFile, found);
        return result.Verdict;
    }

    public void WriteProblem(string problem)
    {
        try
        {
            Directory.CreateDirectory(In(string.Empty));
            RemoveOld([]);
            File.Delete(ResultFile);
            JsonText.Write(In(pair.Files.Problem), json =>
            {
                json.WriteString("id", pair.Id);
                json.WriteString("error", problem);
                json.WriteStartObject("inputs");
                foreach ((string role, string file) in pair.Inputs())
                {
                    json.WriteString(role, file);
                }

                json.WriteEndObject();
            });
        }
        catch (Exception error) when (error is InvalidFileException or IOException or UnauthorizedAccessException)
        {
            // The problem itself is told.
        }
    }

    private SortedDictionary<string, string> Settings => settings ??= options.AllSettings();

    private SortedDictionary<string, string>? settings;

    /// <summary>Looks at the inputs, once.</summary>
    private IReadOnlyList<PairInput> ReadInputs()
    {
        if (inputs.Count == 0)
        {
            inputs = [.. pair.Inputs().Select(input => cache.Look(input.Role, input.File))];
        }

        return inputs;
    }

    private string In(string name) => Path.Combine(folder, pair.Files.Folder, name);

    private string DigestOf(string file) => inputs.First(input => input.File == file).Digest;

    private Volume Scan(string file)
    {
        Volume scan = cache.Read(file, DigestOf(file));
        Budget.CheckVoxels(file, scan.Grid);
        return scan;
    }

    private Volume? OnGrid(string? file, Volume scan, string name, string what)
    {
        if (file is null)
        {
            return null;
        }

        Volume read = cache.Read(file, DigestOf(file));
        return read.Grid.SameAs(scan.Grid)
            ? read
            : throw new InvalidFileException(file, $"lies on another grid than the {name} scan", $"give the {what} that belongs to it");
    }

    private Volume? Mask(string? file, Volume scan, string name)
    {
        Volume? mask = OnGrid(file, scan, name, "mask");
        return mask is null || Array.Exists(mask.Values, value => value > 0)
            ? mask
            : throw new InvalidFileException(file!, "is empty", "mark what counts with numbers above 0");
    }

    private InverseConsistency? WriteAll(
        RegistrationResult result,
        Volume? movingLabels,
        Volume? fixedLabels,
        Dictionary<string, string> written,
        CancellationToken cancellation)
    {
        PairFiles names = pair.Files;
        InverseConsistency? inverse = null;
        void Put(CohortOutputs what, bool possible, string key, string name, Action<string> write)
        {
            cancellation.ThrowIfCancellationRequested();
            if (possible && options.Outputs.HasFlag(what))
            {
                write(In(name));
                written.Add(key, name);
            }
        }

        string ending = options.Transforms.Ending;
        Put(CohortOutputs.Moved, true, "moved", names.Moved, file => ImageFile.Write(file, result.Moved));
        Put(CohortOutputs.Transform, true, "transform", names.Transform + ending, file =>
            options.Transforms.Write(file, result.Transform, result.Field));
        Put(CohortOutputs.Inverse, true, "inverse_transform", names.Inverse + ending, file =>
        {
            DisplacementField back = result.Inverse(out InverseConsistency residual);
            options.Transforms.Write(file, new Transform.Dense(back), back);
            inverse = residual;
        });
        Put(CohortOutputs.Labels, movingLabels is not null, "moved_labels", names.Labels, file =>
            ImageFile.Write(file, result.MoveLabels(movingLabels!)));
        Put(CohortOutputs.Points, pair.Points is not null, "points", names.Points + PointEnding(pair.Points), file => WritePoints(result, file));
        Put(CohortOutputs.Report, true, "report", names.Report, file => result.WriteReport(file, new ReportOptions
        {
            FixedName = Path.GetFileName(pair.Fixed.Image),
            MovingName = Path.GetFileName(pair.Moving.Image),
            MovingLabels = movingLabels,
            FixedLabels = fixedLabels,
            Command = options.Command,
            Threads = threads,
        }));
        Put(CohortOutputs.Picture, true, "picture", names.Picture, file => PairPicture.Write(result, file, threads));
        return inverse;
    }

    private static string PointEnding(string? file) => file switch
    {
        null => string.Empty,
        _ when file.EndsWith(".mrk.json", StringComparison.OrdinalIgnoreCase) => ".mrk.json",
        _ => Path.GetExtension(file).ToLowerInvariant(),
    };

    private void WritePoints(RegistrationResult result, string file)
    {
        PointFile points = PointFile.Read(pair.Points!);
        Transform back = result.Transform.Inverse();
        points.Write(file, [.. points.ToWorld(result.Moving.Grid).Select(p => back.MapPoint(p.X, p.Y, p.Z))], result.Fixed.Grid);
    }

    /// <summary>Mean distances of the moving landmarks from where the fixed ones are taken.</summary>
    private (double BeforeMm, double AfterMm)? Distances(RegistrationResult result)
    {
        if (pair.Fixed.Landmarks is not string fixedFile || pair.Moving.Landmarks is not string movingFile)
        {
            return null;
        }

        IReadOnlyList<(double X, double Y, double Z)> here = PointFile.Read(fixedFile).ToWorld(result.Fixed.Grid);
        IReadOnlyList<(double X, double Y, double Z)> there = PointFile.Read(movingFile).ToWorld(result.Moving.Grid);
        if (here.Count != there.Count || here.Count == 0)
        {
            throw new InvalidFileException(
                movingFile, $"has {there.Count} landmarks, and the fixed scan's file {here.Count}", "give both scans the same ones, in one order");
        }

        double Mean(Transform transform) => here.Zip(there).Average(points =>
        {
            (double x, double y, double z) = transform.MapPoint(points.First.X, points.First.Y, points.First.Z);
            return Math.Sqrt(Math.Pow(x - points.Second.X, 2) + Math.Pow(y - points.Second.Y, 2) + Math.Pow(z - points.Second.Z, 2));
        });
        return (Mean(new Transform.Linear(result.Initial)), Mean(result.Transform));
    }

    /// <summary>Removes what an earlier run wrote under other options, and the note of a problem that is gone.</summary>
    private void RemoveOld(IEnumerable<string> written)
    {
        PairFiles names = pair.Files;
        HashSet<string> keep = [.. written];
        string[] all = [names.Moved, names.Labels, names.Report, names.Picture, names.Problem];
        string[] stems = [names.Transform, names.Inverse, names.Points];
        string[] endings = [".h5", ".nii.gz", ".csv", ".fcsv", ".mrk.json"];
        foreach (string name in all.Concat(stems.SelectMany(stem => endings.Select(ending => stem + ending))))
        {
            if (!keep.Contains(name))
            {
                File.Delete(In(name));
            }
        }
    }
}
