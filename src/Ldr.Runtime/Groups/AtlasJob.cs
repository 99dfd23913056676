using System.Globalization;
using System.Text;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;

namespace Ldr.Runtime.Groups;

/// <summary>One scan of many that are labelled: reads, labels, writes.</summary>
internal sealed class AtlasJob(TemplateScan target, IReadOnlyList<KnownAtlas> all, string output, AtlasCohortOptions options, ScanCache cache)
    : IGroupJob
{
    private readonly IReadOnlyList<KnownAtlas> atlases = [.. all.Where(atlas => !atlas.Is(target.Image))];

    public string Id => target.Name;

    public string ResultFile => In("result.json");

    public long Bytes => 0;

    /// <summary>The volumes of its structures.</summary>
    internal string VolumesFile => In(AtlasCohort.VolumesName);

    private string LabelsFile => In("labels.nii.gz");

    private string DisagreementFile => In("disagreement.nii.gz");

    private string ProbabilityFile => In("probability.nii.gz");

    private string ProblemFile => In("problem.json");

    public string? VerdictOfDone() =>
        File.Exists(ResultFile) && Written().All(File.Exists) ? PairResult.VerdictOf(ResultFile, [Look()], Settings()) : null;

    public Verdict Run(Registrar registrar, Action confirm, CancellationToken cancellation)
    {
        if (atlases.Count == 0)
        {
            throw new InvalidFileException(target.Image, "has no atlas but itself", "give labelled scans of others");
        }

        PairInput input = Look();

        // From here on it is not done.
        File.Delete(ResultFile);
        Volume scan = cache.Read(target.Image, input.Digest);
        Budget.CheckVoxels(target.Image, scan.Grid);
        Segmentation result = new AtlasSegmenter(registrar).Segment(
            scan, [.. atlases.Select(atlas => atlas.Atlas)], options.Segmentation, null, cancellation);
        confirm();
        File.Delete(ProblemFile);
        IReadOnlyList<StructureVolume> volumes = result.Fused.Probabilities.Volumes();
        result.Fused.Labels.Write(LabelsFile);
        result.Fused.Disagreement.Write(DisagreementFile);
        result.Fused.Probabilities.BestProbability().Write(ProbabilityFile);
        VolumeTable.Write(VolumesFile, volumes);
        cancellation.ThrowIfCancellationRequested();
        WriteResult(input, result, volumes);
        return result.Verdict;
    }

    public void WriteProblem(string problem)
    {
        try
        {
            Directory.CreateDirectory(In(string.Empty));
            foreach (string file in Written().Prepend(ResultFile))
            {
                File.Delete(file);
            }

            JsonText.Write(ProblemFile, json =>
            {
                json.WriteString("id", Id);
                json.WriteString("error", problem);
            });
        }
        catch (Exception error) when (error is InvalidFileException or IOException or UnauthorizedAccessException)
        {
            // The problem itself is told.
        }
    }

    private string In(string name) => Path.Combine(output, target.Name, name);

    private string[] Written() => [LabelsFile, DisagreementFile, ProbabilityFile, VolumesFile];

    private PairInput Look() => cache.Look("target", target.Image);

    private SortedDictionary<string, string> Settings()
    {
        SegmentationOptions o = options.Segmentation;
        CohortOptions common = new() { Registration = o.Registration, Settings = options.Settings };
        SortedDictionary<string, string> settings = common.AllSettings();
        settings.Remove("outputs");
        settings.Remove("transforms");
        settings["nearest"] = o.Nearest?.ToString(CultureInfo.InvariantCulture) ?? "all";
        settings["fusion"] = FormattableString.Invariant(
            $"{o.Fusion.Method}, patch {o.Fusion.PatchRadius}, search {o.Fusion.SearchRadius}, alpha {o.Fusion.Alpha}, beta {o.Fusion.Beta}");
        settings["atlases_sha256"] = FileDigest.Of(Encoding.UTF8.GetBytes(string.Join('\n', atlases.Select(atlas => atlas.Digest))));
        return settings;
    }

    private void WriteResult(PairInput input, Segmentation result, IReadOnlyList<StructureVolume> volumes) => JsonText.Write(ResultFile, json =>
    {
        json.WriteString("id", Id);
        json.WriteString("verdict", result.Verdict.Word());
        json.Texts("atlases", result.Atlases.Where(atlas => atlas.IsUsed).Select(atlas => atlas.Name));
        json.Texts("left_out", result.Atlases.Where(atlas => atlas.Quality?.Verdict == Verdict.Failed).Select(atlas => atlas.Name));
        json.WriteStartObject("volumes_mm3");
        foreach (StructureVolume volume in volumes)
        {
            json.Number(volume.Label.ToString(CultureInfo.InvariantCulture), volume.Mm3);
        }

        json.WriteEndObject();
        json.Inputs([input]);
        json.Settings(Settings());
    });
}
