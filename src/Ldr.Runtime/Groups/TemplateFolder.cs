using System.Text.Json;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>What a scan came to in a round.</summary>
/// <param name="Map">From the template's world to the scan's, mm: its affine part.</param>
/// <param name="Verdict">Of its registration.</param>
/// <param name="Reasons">Why.</param>
/// <param name="MeanDeformationMm">The mean length of its deformation.</param>
internal sealed record TemplateRecord(Affine Map, string Verdict, IReadOnlyList<string> Reasons, double MeanDeformationMm)
{
    internal bool IsGood => Verdict != "failed";
}

/// <summary>The files of a template that is being made. A file that stands is whole, and done.</summary>
internal sealed class TemplateFolder(string folder)
{
    internal string Template => Path.Combine(folder, "template.nii.gz");

    internal string Labels => Path.Combine(folder, "labels.nii.gz");

    internal string LabelProbability => Path.Combine(folder, "label-probability.nii.gz");

    internal string Result => Path.Combine(folder, "result.json");

    internal string Page => Path.Combine(folder, "template.html");

    internal string Probability(int label) => Path.Combine(folder, "probabilities", FormattableString.Invariant($"label-{label}.nii.gz"));

    internal string Average(int round) => Path.Combine(OfRound(round), "template.nii.gz");

    /// <summary>From the round's average to the template that its scans were registered to.</summary>
    internal string Shift(int round) => Path.Combine(OfRound(round), "shift.nii");

    internal string Field(int round, string scan) => Path.Combine(OfRound(round), "scans", scan + ".nii");

    internal string Record(int round, string scan) => Path.Combine(OfRound(round), "scans", scan + ".json");

    internal string Transform(string scan) => Path.Combine(folder, "scans", scan, "transform.nii.gz");

    internal string Inverse(string scan) => Path.Combine(folder, "scans", scan, "inverse.nii.gz");

    /// <summary>
    /// The affine map from a round's average to the template that its scans were aligned with, which made its size the mean.
    /// </summary>
    internal string Stretch(int round) => Path.Combine(OfRound(round), "stretch.txt");

    internal Affine ReadStretch(int round) => TransformFile.Read(Stretch(round)) is Transform.Linear linear ? linear.World : Affine.Identity;

    /// <summary>Makes the folder of a file.</summary>
    internal static string Made(string file)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
            return file;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new InvalidFileException(file, $"its folder cannot be made ({error.Message})", "choose another folder", error);
        }
    }

    /// <summary>Says what the folder is for, or refuses one that was begun with something else.</summary>
    internal void Begin(string digest)
    {
        string plan = Made(Path.Combine(folder, "plan.json"));
        if (JsonText.TryRead(plan) is JsonDocument document)
        {
            using (document)
            {
                if (!document.RootElement.TryGetProperty("digest", out JsonElement found) || found.ValueKind != JsonValueKind.String
                    || found.GetString() != digest)
                {
                    throw new InvalidFileException(
                        folder, "was begun with other scans or options", "give another folder, or remove what is in it");
                }
            }

            return;
        }

        JsonText.Write(plan, json => json.WriteString("digest", digest));
    }

    internal void WriteRecord(int round, string scan, TemplateRecord record) => JsonText.Write(Made(Record(round, scan)), json =>
    {
        // All digits: who goes on from a file has what it was written from.
        json.WriteStartArray("map");
        foreach (double entry in record.Map.ToRows())
        {
            json.WriteNumberValue(entry);
        }

        json.WriteEndArray();
        json.WriteString("verdict", record.Verdict);
        json.Texts("reasons", record.Reasons);
        json.Number("mean_deformation_mm", record.MeanDeformationMm);
    });

    /// <summary>A scan's record; null where there is none, or one that is no record.</summary>
    internal TemplateRecord? TryRecord(int round, string scan) => Read(Record(round, scan), root => new TemplateRecord(
        Affine.FromRows([.. root.GetProperty("map").EnumerateArray().Select(entry => entry.GetDouble())]),
        root.GetProperty("verdict").GetString()!,
        [.. root.GetProperty("reasons").EnumerateArray().Select(reason => reason.GetString()!)],
        root.GetProperty("mean_deformation_mm") is { ValueKind: JsonValueKind.Number } mean ? mean.GetDouble() : double.NaN));

    internal void WriteRound(TemplateRound round) =>
        JsonText.Write(Made(Path.Combine(OfRound(round.Round), "round.json")), json => WriteRound(json, round));

    internal static void WriteRound(Utf8JsonWriter json, TemplateRound round)
    {
        json.WriteNumber("round", round.Round);
        json.Number("mean_deformation_mm", round.MeanDeformationMm);
        json.Number("max_deformation_mm", round.MaxDeformationMm);
        json.Number("sharpness", round.Sharpness);
        json.Texts("left_out", round.LeftOut);
    }

    /// <summary>What a round came to; null where it is not done.</summary>
    internal TemplateRound? TryRound(int round) => Read(Path.Combine(OfRound(round), "round.json"), root => new TemplateRound(
        round,
        root.GetProperty("mean_deformation_mm").GetDouble(),
        root.GetProperty("max_deformation_mm").GetDouble(),
        root.GetProperty("sharpness").GetDouble(),
        [.. root.GetProperty("left_out").EnumerateArray().Select(name => name.GetString()!)]));

    /// <summary>Removes the deformations of a round, which are large, when the next round has its average.</summary>
    internal void Forget(int round, IEnumerable<string> scans)
    {
        foreach (string file in scans.Select(scan => Field(round, scan)).Append(Shift(round)))
        {
            File.Delete(file);
        }
    }

    private string OfRound(int round) => Path.Combine(folder, FormattableString.Invariant($"round-{round}"));

    private static T? Read<T>(string file, Func<JsonElement, T> decode)
        where T : class
    {
        using JsonDocument? document = JsonText.TryRead(file);
        try
        {
            return document is null ? null : decode(document.RootElement);
        }
        catch (Exception error) when (error is KeyNotFoundException or InvalidOperationException or FormatException or ArgumentException)
        {
            return null;
        }
    }
}
