using System.Text.Json;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Reports;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>What there is to tell of a registered pair.</summary>
internal sealed record PairFindings(CohortPair Pair, RegistrationResult Result)
{
    /// <summary>What was read.</summary>
    internal required IReadOnlyList<PairInput> Inputs { get; init; }

    /// <summary>What decided the result.</summary>
    internal required IReadOnlyDictionary<string, string> Settings { get; init; }

    /// <summary>The files that were written, by their key.</summary>
    internal required IReadOnlyDictionary<string, string> Written { get; init; }

    /// <summary>How well each label agrees after the initial alignment and in the end; empty without labels of both scans.</summary>
    internal IReadOnlyList<LabelAgreement> Labels { get; init; } = [];

    /// <summary>Mean distance of the landmarks, mm; null without landmarks of both scans.</summary>
    internal (double BeforeMm, double AfterMm)? Landmarks { get; init; }

    /// <summary>How far the written inverse is from undoing the transform.</summary>
    internal InverseConsistency? Inverse { get; init; }
}

/// <summary>A file that was read for a pair.</summary>
/// <param name="Role">What it is for the pair.</param>
/// <param name="File">Its path.</param>
/// <param name="Digest">SHA-256 of it, and of the voxels behind it.</param>
/// <param name="Stamp">By which it is known again without reading it; null where voxels lie in a file of their own.</param>
internal sealed record PairInput(string Role, string File, string Digest, FileStamp? Stamp);

/// <summary>The length and the time of a file.</summary>
/// <param name="Bytes">Its length.</param>
/// <param name="Modified">When it was last written, UTC.</param>
internal readonly record struct FileStamp(long Bytes, DateTime Modified)
{
    /// <summary>Of a file; null where there is none. Links are followed.</summary>
    internal static FileStamp? Of(string file)
    {
        FileInfo found = new(FileNode.RealPath(file));
        return found.Exists ? new FileStamp(found.Length, found.LastWriteTimeUtc) : null;
    }
}

/// <summary>The file <c>result.json</c> of a pair.</summary>
internal static class PairResult
{
    /// <summary>The version of the program that registers.</summary>
    internal static string Version => typeof(PairResult).Assembly.GetName().Version?.ToString(3) ?? string.Empty;

    /// <summary>Writes it, atomically.</summary>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    internal static void Write(string path, PairFindings found) => JsonText.Write(path, json =>
    {
        RegistrationResult result = found.Result;
        RegistrationQuality quality = result.Quality;
        json.WriteString("id", found.Pair.Id);
        json.WriteString("verdict", quality.Verdict.Word());
        json.Texts("reasons", quality.Reasons);
        foreach ((string key, string name) in found.Written)
        {
            json.WriteString(key, name);
        }

        foreach ((string key, double number) in QualityNumbers.Of(quality))
        {
            json.Number(key, number);
        }

        json.Texts("outside_training", quality.OutsideTraining);
        Measured(json, found);
        json.WriteString("initial_alignment", result.StartedBy.ToString().ToLowerInvariant());
        json.WriteBoolean("network_left_out", result.NetworkLeftOut);
        json.Numbers("affine", result.Initial.ToRows());
        Stages(json, result);
        (Grid coarse, byte[] values) = PairPicture.Coarse(result, 1);
        json.WriteStartObject("coarse");
        json.Numbers("size", [coarse.Nx, coarse.Ny, coarse.Nz]);
        json.WriteBase64String("values", values);
        json.WriteEndObject();
        json.Inputs(found.Inputs);
        json.Settings(found.Settings);
    });

    /// <summary>Whether a pair is done: with the same inputs and settings, and its files are there.</summary>
    /// <returns>Its verdict; null where it is not done.</returns>
    internal static string? VerdictOf(string path, IReadOnlyList<PairInput> inputs, IReadOnlyDictionary<string, string> settings)
    {
        Dictionary<string, string> digests = inputs.ToDictionary(input => input.Role, input => input.Digest);
        return VerdictOf(path, digests, settings, (_, value) => value.TryGetProperty("sha256", out JsonElement sum) ? sum.GetString() : null);
    }

    /// <summary>
    /// The same, without reading the inputs: the same paths, and files of the same length and time. Null where that cannot be told,
    /// also where an input was written shortly before the result: times of files are as coarse as a second.
    /// </summary>
    internal static string? VerdictOf(
        string path, IEnumerable<(string Role, string File)> inputs, IReadOnlyDictionary<string, string> settings)
    {
        DateTime written = File.GetLastWriteTimeUtc(path);
        Dictionary<string, string> files = inputs.ToDictionary(input => input.Role, input => input.File);
        return VerdictOf(path, files, settings, (role, value) =>
            value.TryGetProperty("path", out JsonElement file)
            && value.TryGetProperty("bytes", out JsonElement bytes) && bytes.TryGetInt64(out long length)
            && value.TryGetProperty("modified", out JsonElement time) && time.TryGetDateTime(out DateTime modified)
            && files.TryGetValue(role, out string? now) && FileStamp.Of(now) == new FileStamp(length, modified)
            && written - modified > TimeSpan.FromSeconds(2)
                ? file.GetString()
                : null);
    }

    private static string? VerdictOf(
        string path,
        IReadOnlyDictionary<string, string> inputs,
        IReadOnlyDictionary<string, string> settings,
        Func<string, JsonElement, string?> input)
    {
        using JsonDocument? document = JsonText.TryRead(path);
        if (document is null)
        {
            return null;
        }

        JsonElement root = document.RootElement;
        bool same = JsonText.Same(root, "options", settings, (_, value) => value.GetString()) && JsonText.Same(root, "inputs", inputs, input);
        string folder = Path.GetDirectoryName(path)!;
        bool there = GroupRow.FileKeys.All(key =>
            !root.TryGetProperty(key, out JsonElement name) || File.Exists(Path.Combine(folder, name.GetString() ?? string.Empty)));
        return same && there && root.TryGetProperty("verdict", out JsonElement verdict) ? verdict.GetString() : null;
    }

    /// <summary>What was read, by which it is known again.</summary>
    internal static void Inputs(this Utf8JsonWriter json, IEnumerable<PairInput> inputs)
    {
        json.WriteStartObject("inputs");
        foreach (PairInput input in inputs)
        {
            json.WriteStartObject(input.Role);
            json.WriteString("path", input.File);
            json.WriteString("sha256", input.Digest);
            if (input.Stamp is FileStamp stamp)
            {
                json.WriteNumber("bytes", stamp.Bytes);
                json.WriteString("modified", stamp.Modified);
            }

            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    /// <summary>What decided the result.</summary>
    internal static void Settings(this Utf8JsonWriter json, IReadOnlyDictionary<string, string> settings)
    {
        json.WriteStartObject("options");
        foreach ((string key, string value) in settings)
        {
            json.WriteString(key, value);
        }

        json.WriteEndObject();
        json.WriteString("version", Version);
    }

    private static void Measured(Utf8JsonWriter json, PairFindings found)
    {
        if (found.Labels.Count > 0)
        {
            json.WritePropertyName("labels");
            LabelAgreement.ToJson(found.Labels).WriteTo(json);
        }

        if (found.Landmarks is (double before2, double after2))
        {
            json.Number("tre_before_mm", before2);
            json.Number("tre_mm", after2);
        }

        if (found.Inverse is InverseConsistency inverse)
        {
            json.Number("inverse_residual_mean_mm", inverse.MeanMm);
            json.Number("inverse_residual_max_mm", inverse.MaxMm);
        }
    }

    private static void Stages(Utf8JsonWriter json, RegistrationResult result)
    {
        if (result.Refined is Refined refined)
        {
            json.Number("local_correlation_before", refined.Before);
            json.Number("local_correlation_after", refined.After);
            json.WriteNumber("refinement_steps", refined.Steps);
        }

        if (result.Unfolded is Unfolded unfolded)
        {
            json.Number("folded_percent_before", unfolded.FoldedBeforePercent);
            json.Number("diffeomorphic_change_mean_mm", unfolded.Fit.MeanChangeMm);
            json.Number("diffeomorphic_change_max_mm", unfolded.Fit.MaxChangeMm);
        }

        RegistrationTimes times = result.Times;
        json.WriteStartObject("milliseconds");
        json.Number("affine", times.Alignment.TotalMilliseconds);
        json.Number("network", times.Network.TotalMilliseconds);
        json.Number("refinement", times.Refinement.TotalMilliseconds);
        json.Number("warp", times.Warp.TotalMilliseconds);
        json.Number("check", result.Quality.Elapsed.TotalMilliseconds);
        json.Number("total", times.Total.TotalMilliseconds);
        json.WriteEndObject();
    }
}
